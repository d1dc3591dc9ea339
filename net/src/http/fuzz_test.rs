//! Arbitrary bytes as an HTTP/1 request.

use super::message::Request;
use crate::fuzz;

#[test]
fn fuzz_request() {
    let seeds = [
        "GET /health?serializable=true&exclude=NOSPACE HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /version HTTP/1.0\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
        "GET /%41?a=%zz&&b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    .map(|text| text.as_bytes().to_vec());
    fuzz::run("http request", &seeds, |bytes| {
        match Request::parse(bytes) {
            Ok((request, length)) => {
                assert!(length <= bytes.len(), "more was parsed than is there");
                1 + request.query.len() as u64
            }
            Err(error) => 1000 + error as u64,
        }
    });
}

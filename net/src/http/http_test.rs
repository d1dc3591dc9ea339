//! Tests of parsing and answering without a socket.

use super::{
    endpoints::{Endpoints, Health, HealthRequest, Versions},
    message::{Body, ParseError, Request, Response},
};
use std::{cell::RefCell, rc::Rc, time::SystemTime};

fn parse(text: &str) -> Result<Request, ParseError> {
    Request::parse(text.as_bytes()).map(|(request, length)| {
        assert_eq!(length, text.len());
        request
    })
}

#[test]
fn requests_are_parsed() {
    let request =
        parse("GET /health?exclude=NOSPACE&exclude=A%2BB+C&x HTTP/1.1\r\nHost: a\r\n\r\n");
    let request = request.unwrap();
    assert_eq!((&*request.method, &*request.path), ("GET", "/health"));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = [
        pair("exclude", "NOSPACE"),
        pair("exclude", "A+B C"),
        pair("x", ""),
    ];
    assert_eq!(request.query, expected);
    assert!(request.keep_alive);
    assert!(!parse("GET / HTTP/1.0\r\n\r\n").unwrap().keep_alive);
    assert!(
        !parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .unwrap()
            .keep_alive
    );
    let post = parse("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n").unwrap();
    assert_eq!(post.body, Body::Length(12));
}

#[test]
fn bad_requests_are_refused() {
    for bad in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ] {
        assert_eq!(parse(bad), Err(ParseError::Malformed), "{bad:?}");
    }
    assert_eq!(parse("\0\0\0\r\n\r\n"), Err(ParseError::NotHttp));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101));
    assert_eq!(parse(&many), Err(ParseError::TooLarge));
    let long = format!("GET /{}", "x".repeat(70_000));
    assert_eq!(parse(&long), Err(ParseError::TooLarge));
    assert_eq!(parse("GET / HT"), Err(ParseError::Incomplete));
}

fn answer(endpoints: &Endpoints, target: &str) -> Response {
    let request = parse(&format!("{target} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
    futures_lite::future::block_on(endpoints.answer(&request))
}

fn endpoints(reason: &'static str, seen: &Rc<RefCell<Vec<HealthRequest>>>) -> Endpoints {
    let seen = Rc::clone(seen);
    let health = move |request| {
        seen.borrow_mut().push(request);
        async move {
            Health {
                healthy: reason.is_empty(),
                reason: reason.to_owned(),
            }
        }
    };
    let versions = || Versions {
        server: "3.7.3".to_owned(),
        cluster: "3.7.0".to_owned(),
        storage: "3.7.0".to_owned(),
    };
    Endpoints::new(health, versions)
}

#[test]
fn endpoints_answer_as_etcd_does() {
    let seen = Rc::default();
    let well = endpoints("", &seen);
    let health = answer(&well, "GET /health");
    assert_eq!(health.status, 200);
    assert_eq!(health.body, br#"{"health":"true","reason":""}"#);
    let version = answer(&well, "GET /version");
    let text = r#"{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}"#;
    assert_eq!(version.body, text.as_bytes());
    assert_eq!(version.content_type, Some("application/json"));
    let ill = answer(
        &endpoints("ALARM NOSPACE", &seen),
        "GET /health?serializable=true&exclude=X",
    );
    assert_eq!(ill.status, 503);
    assert_eq!(
        ill.body,
        b"{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n"
    );
    let asked = HealthRequest {
        exclude: vec!["X".to_owned()],
        serializable: true,
    };
    assert_eq!(seen.borrow()[1], asked);
    assert_eq!(answer(&well, "POST /health").status, 405);
    assert_eq!(answer(&well, "PUT /version").status, 405);
    assert_eq!(answer(&well, "OPTIONS /anything").status, 200);
    let missing = answer(&well, "GET /v2/keys");
    assert_eq!(
        (missing.status, &*missing.body),
        (404, &b"404 page not found\n"[..])
    );
}

#[test]
fn answers_are_framed() {
    let response = Response::error(404, "404 page not found");
    let text = String::from_utf8(response.encode(true, true, SystemTime::UNIX_EPOCH)).unwrap();
    assert!(text.starts_with("HTTP/1.1 404 Not Found\r\n"));
    assert!(text.contains("Content-Length: 19\r\n"));
    assert!(text.contains("Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"));
    assert!(text.contains("Access-Control-Allow-Origin: *\r\n"));
    assert!(text.ends_with("Connection: close\r\n\r\n"));
}

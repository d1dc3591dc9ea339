//! Endpoints that do not answer.

use super::*;
use reeve_api::etcdserverpb::{RangeRequest, RangeResponse, kv_methods};
use std::io::ErrorKind;
use std::net::TcpListener;

/// Takes connections, in the kernel, and never answers.
fn silent() -> TcpListener {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn client(endpoints: &[&TcpListener]) -> Client {
    let text = |listener: &&TcpListener| listener.local_addr().unwrap().to_string();
    Client::new(ClientOptions {
        endpoints: endpoints.iter().map(text).collect(),
        dial_timeout: Duration::from_secs(2),
        request_timeout: Duration::from_millis(300),
        keepalive_time: Duration::from_secs(10),
        keepalive_timeout: Duration::from_secs(10),
        tls: ClientTls::default(),
        login: None,
    })
    .unwrap()
}

fn ask(client: &Client) -> Code {
    let answer: Result<RangeResponse, ClientError> =
        client.call(kv_methods::RANGE, &RangeRequest::default());
    match answer {
        Err(ClientError::Refused(status)) => status.code(),
        other => panic!("{other:?}"),
    }
}

fn was_asked(listener: &TcpListener) -> bool {
    match listener.accept() {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            false
        }
    }
}

#[test]
fn an_endpoint_that_does_not_answer_is_left() {
    let (one, two) = (silent(), silent());
    let client = client(&[&one, &two]);
    assert_eq!(ask(&client), Code::DeadlineExceeded);
    assert!(was_asked(&one) && !was_asked(&two));
    assert_eq!(ask(&client), Code::DeadlineExceeded);
    assert!(was_asked(&two));
    // And the first one has its turn again.
    assert_eq!(client.current.get(), 0);
}

#[test]
fn endpoints_that_refuse_are_all_tried_at_once() {
    let (refusing, silent) = (silent(), silent());
    let client = client(&[&refusing, &silent]);
    drop(refusing);
    assert_eq!(ask(&client), Code::DeadlineExceeded);
    assert!(was_asked(&silent));
}

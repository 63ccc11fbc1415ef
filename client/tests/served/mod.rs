//! The proxy before a CVM, and raw HTTP to speak to it.

#![allow(dead_code, reason = "each test program uses a part")]

use std::net::SocketAddr;

use serde_json::{Value, json};
use talaria_client::policy::Policy;
use talaria_client::proxy::{Guard, Proxy, Upstream};
use talaria_client::remote::Trust;
use talaria_client::time::UnixTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::cvm::{self, Cvm, Script};

pub(crate) struct Served {
    pub cvm: Cvm,
    pub address: SocketAddr,
}

pub(crate) struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{}", self.body))
    }

    /// Chunks before `[DONE]`, which must come last.
    pub(crate) fn chunks(&self) -> Vec<Value> {
        assert!(self.head.contains("text/event-stream"), "{}", self.head);
        let mut events: Vec<_> = self.body.split("\n\n").filter(|e| !e.is_empty()).collect();
        assert_eq!(events.pop(), Some("data: [DONE]"), "{}", self.body);
        let parse = |event: &str| serde_json::from_str(event.strip_prefix("data: ").unwrap());
        events
            .into_iter()
            .map(|event| parse(event).unwrap())
            .collect()
    }
}

pub(crate) async fn serve(script: Script, api_key: Option<&str>) -> Served {
    serve_over(script, api_key, 1).await
}

pub(crate) async fn serve_over(
    script: Script,
    api_key: Option<&str>,
    connections: usize,
) -> Served {
    let cvm = Cvm::start(script).await;
    let trust = Trust::new(Policy::from_toml(&cvm::policy()).unwrap())
        .dangerous_accept_development_evidence(true);
    let url = cvm.url.parse().unwrap();
    let connections = connections.try_into().unwrap();
    let upstream = Upstream::new(url, trust, UnixTime::now, connections);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let guard = Guard::new(address, api_key.map(String::from)).unwrap();
    let router = Proxy::new(upstream, "owl".into(), guard).router();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Served { cvm, address }
}

impl Served {
    pub(crate) async fn send(&self, head: &str, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let head = format!("{head}Connection: close\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that refuses a long body closes before all of it is written.
        let _ = stream.write_all(body).await;
        stream
    }

    pub(crate) async fn raw(&self, head: &str, body: &[u8]) -> Response {
        let mut stream = self.send(head, body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Response {
            status: head[9..12].parse().unwrap(),
            body: match head
                .to_ascii_lowercase()
                .contains("transfer-encoding: chunked")
            {
                true => unchunked(body),
                false => body.into(),
            },
            head: head.into(),
        }
    }

    pub(crate) fn head(&self, method: &str, path: &str) -> String {
        format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.raw(&self.head("GET", path), b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Response {
        self.raw(&self.head("POST", path), body.to_string().as_bytes())
            .await
    }

    pub(crate) async fn chat(&self, text: &str, more: Value) -> Response {
        let messages = json!([{ "role": "user", "content": text }]);
        let body = merge(json!({ "model": "gpt-4o", "messages": messages }), more);
        self.post("/v1/chat/completions", body).await
    }

    pub(crate) async fn complete(&self, prompt: Value, more: Value) -> Response {
        let body = merge(json!({ "model": "m", "prompt": prompt }), more);
        self.post("/v1/completions", body).await
    }
}

pub(crate) fn merge(mut body: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    body
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            break;
        }
        body += &after[..length];
        rest = &after[length + 2..];
    }
    body
}

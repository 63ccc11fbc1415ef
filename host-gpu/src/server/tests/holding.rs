//! Callers who hold what they can, and those who are served all the same.

use std::net::SocketAddr;

use talaria_transport::link::{Callers, LinkKey, drawn, initiate};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tonic::codegen::http;

use super::*;
use crate::testing::manifest_of;

/// A model whose weights, 16 MiB, and products, 4 MiB a row, no caller takes unread.
fn large() -> Manifest {
    manifest_of(1 << 19)
}

/// Its LM head.
const LM_HEAD: u32 = 5;

fn short() -> Duration {
    Duration::from_millis(400)
}

impl Fixture {
    fn socket_address(&self) -> SocketAddr {
        self.server.address().to_string().parse().unwrap()
    }

    /// A channel from another address of this machine.
    async fn channel_from(&self, last: u8) -> Channel {
        let endpoint = Endpoint::try_from(self.server.url()).unwrap();
        let from = std::net::Ipv4Addr::new(127, 0, 0, last);
        let endpoint = endpoint.local_address(Some(from.into()));
        endpoint.connect().await.unwrap()
    }

    async fn weights_from(&self, last: u8) -> Result<usize, Status> {
        let mut client = WeightedHostClient::new(self.channel_from(last).await);
        let mut chunks = client.weights(WeightsRequest {}).await?.into_inner();
        let mut bytes = 0;
        while let Some(chunk) = chunks.message().await? {
            bytes += chunk.data.len();
        }
        Ok(bytes)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_who_take_nothing_do_not_stop_set_up() {
    let bounds = Bounds {
        stall: 4 * short(),
        ..Bounds::default()
    };
    let fixture = Fixture::within(large(), bounds);
    let expected = fixture.model.manifest.weight_bytes() as usize;
    let mut silent = Vec::new();
    for _ in 0..6 {
        let mut client = WeightedHostClient::new(channel(&fixture.server.url()).await);
        silent.push(tokio::spawn(async move {
            let weights = client.weights(WeightsRequest {}).await;
            sleep(10 * PATIENCE).await;
            drop(weights);
        }));
    }
    sleep(short()).await;
    // Others are not waited for at all, one's own until they are given up.
    for last in [2, 1] {
        let weights = timeout(PATIENCE, fixture.weights_from(last)).await;
        assert_eq!(weights.expect("weights in time").unwrap(), expected);
    }
    silent.iter().for_each(JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_takes_end_their_connection() {
    let bounds = Bounds {
        stall: short(),
        ..Bounds::default()
    };
    let fixture = Fixture::within(large(), bounds);
    let caller = fixture.caller().await;
    let seed = Some(Body::Seed(vec![1; 32].into()));
    for id in 0..3 {
        caller.send(request(id, LM_HEAD, 1, seed.clone())).await;
    }
    let closed = timeout(PATIENCE, caller.requests.closed()).await;
    closed.expect("an end in time");
}

/// A call of a caller who writes HTTP/2 by hand.
struct Raw {
    body: h2::SendStream<Bytes>,
    /// Ends with the connection.
    connection: JoinHandle<()>,
    /// Whether there was an answer, of which nothing is read.
    answered: oneshot::Receiver<bool>,
}

impl Raw {
    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        method: &str,
    ) -> Result<Self, h2::Error> {
        let (requests, connection) = h2::client::handshake(stream).await?;
        let connection = tokio::spawn(async move { drop(connection.await) });
        let request = http::Request::post(format!("http://gpu/talaria.v1.WeightedHost/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let (answer, body) = requests.ready().await?.send_request(request, false)?;
        let (answers, answered) = oneshot::channel();
        tokio::spawn(async move {
            let answer = answer.await;
            let _ = answers.send(answer.is_ok());
            sleep(10 * PATIENCE).await;
            drop(answer);
        });
        Ok(Self {
            body,
            connection,
            answered,
        })
    }

    async fn at(fixture: &Fixture, method: &str) -> Self {
        let stream = TcpStream::connect(fixture.socket_address()).await.unwrap();
        Self::over(stream, method).await.unwrap()
    }

    fn send(&mut self, bytes: &[u8], is_last: bool) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.body.send_data(bytes, is_last).unwrap();
    }

    /// Its connection, and not its own end.
    async fn until_closed(self) {
        let closed = timeout(PATIENCE, self.connection).await;
        closed.expect("an end in time").unwrap();
        drop(self.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_received_messages_are_not_held() {
    let bounds = Bounds {
        silence: short(),
        ..Bounds::default()
    };
    let fixture = Fixture::within(tiny_manifest(), bounds);
    let mut quiet = fixture.caller().await;
    let prefix = [0, 0, 0, 1, 0];
    for beginning in [&prefix[..3], &[&prefix[..], &[7; 100]].concat()] {
        for method in ["Project", "Weights"] {
            let mut call = Raw::at(&fixture, method).await;
            call.send(beginning, false);
            call.until_closed().await;
        }
    }
    // Whoever sends nothing in the middle of nothing stays.
    let (good, x) = valid(1, 1);
    assert_eq!(quiet.project(good).await, fixture.reference(1, 1, &x));
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_and_quiet_calls_are_not() {
    let bounds = Bounds {
        first_call: short(),
        idle: short(),
        ..Bounds::default()
    };
    let fixture = Fixture::within(tiny_manifest(), bounds);
    let mut quiet = fixture.caller().await;
    let mut silent = TcpStream::connect(fixture.socket_address()).await.unwrap();
    let ended = timeout(PATIENCE, silent.read_to_end(&mut Vec::new())).await;
    drop(ended.expect("an end in time"));

    let mut call = Raw::at(&fixture, "Manifest").await;
    // A message without fields; with it the call ends.
    call.send(&[0; 5], true);
    call.until_closed().await;

    sleep(3 * short()).await;
    let (good, x) = valid(1, 1);
    assert_eq!(quiet.project(good).await, fixture.reference(1, 1, &x));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_does_not_take_all_connections() {
    let bounds = Bounds {
        connections: 4,
        ..Bounds::default()
    };
    let fixture = Fixture::within(tiny_manifest(), bounds);
    let address = fixture.socket_address();
    let (one, mut other) = (fixture.caller().await, fixture.caller().await);
    let mut third = TcpStream::connect(address).await.unwrap();
    let ended = timeout(PATIENCE, third.read_to_end(&mut Vec::new())).await;
    drop(ended.expect("an end in time"));

    let mut elsewhere = Caller::over(fixture.channel_from(2).await).await;
    let (good, x) = valid(1, 1);
    let expected = fixture.reference(1, 1, &x);
    for caller in [&mut elsewhere, &mut other] {
        assert_eq!(caller.project(good.clone()).await, expected);
    }
    drop(one);
    let again = async {
        let endpoint = Endpoint::try_from(fixture.server.url()).unwrap();
        loop {
            if let Ok(channel) = endpoint.connect().await {
                let mut client = WeightedHostClient::new(channel);
                if client.manifest(ManifestRequest {}).await.is_ok() {
                    return;
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("a free place");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_has_so_many_calls() {
    let fixture = Fixture::new();
    let channel = channel(&fixture.server.url()).await;
    let mut callers = Vec::new();
    for _ in 0..STREAMS {
        callers.push(Caller::over(channel.clone()).await);
    }
    let one_more = Caller::over(channel);
    tokio::pin!(one_more);
    assert!(timeout(short(), one_more.as_mut()).await.is_err());
    callers.clear();
    let mut caller = timeout(PATIENCE, one_more).await.expect("its turn");
    let (good, x) = valid(1, 1);
    assert_eq!(caller.project(good).await, fixture.reference(1, 1, &x));
}

/// A host with encrypted links.
struct Secured {
    address: SocketAddr,
    key: [u8; 32],
    serving: JoinHandle<Result<(), ServeError>>,
}

impl Secured {
    async fn start(bounds: Bounds, callers: Option<Callers>) -> Self {
        let (model, _) = model(tiny_manifest());
        let host = Arc::new(GpuHost::new(model, Limits::default()).unwrap());
        let listener = bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.address().unwrap().to_string().parse().unwrap();
        let key = LinkKey::new(drawn().unwrap());
        let public = *key.public();
        let listener = listener.secured(Door { key, callers });
        let serving = tokio::spawn(serve(host, listener, bounds, std::future::pending()));
        Self {
            address,
            key: public,
            serving,
        }
    }

    /// Whether a caller gets an answer of the service.
    async fn serves(&self, own: Option<&LinkKey>) -> bool {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let Ok(link) = initiate(stream, &self.key, own, drawn().unwrap()).await else {
            return false;
        };
        match Raw::over(link, "Project").await {
            Ok(call) => call.answered.await.unwrap_or(false),
            Err(_) => false,
        }
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_sockets_of_one_address_do_not_stop_encrypted_links() {
    let bounds = Bounds {
        handshake: PATIENCE / 2,
        ..Bounds::default()
    };
    let host = Secured::start(bounds, None).await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        silent.push(socket.connect(host.address).await.unwrap());
    }
    sleep(short()).await;
    let served = timeout(PATIENCE / 4, host.serves(None)).await;
    assert!(served.expect("an answer before the handshakes end"));
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_stays_silent_is_ended() {
    let bounds = Bounds {
        handshake: short(),
        ..Bounds::default()
    };
    let host = Secured::start(bounds, None).await;
    let mut silent = TcpStream::connect(host.address).await.unwrap();
    let ended = timeout(PATIENCE, silent.read_to_end(&mut Vec::new())).await;
    drop(ended.expect("an end in time"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_callers_on_the_list_are_served() {
    let [caller, stranger] = [(); 2].map(|()| LinkKey::new(drawn().unwrap()));
    let list = Callers::parse(hex::encode(caller.public()).as_bytes()).unwrap();
    let host = Secured::start(Bounds::default(), Some(list)).await;
    assert!(host.serves(Some(&caller)).await);
    assert!(!host.serves(Some(&stranger)).await);
    assert!(!host.serves(None).await);
    let open = Secured::start(Bounds::default(), None).await;
    assert!(open.serves(Some(&stranger)).await && open.serves(None).await);
}

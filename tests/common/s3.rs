//! A server that speaks S3, on this machine, and a wire to it that breaks.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use hyper::{
    Request,
    body::Incoming,
    header::AUTHORIZATION,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};

pub const KEY: &str = "AKIDEXAMPLE";
pub const SECRET: &str = "a-secret-that-nobody-prints";

/// A server with one bucket, `bucket`.
pub struct S3 {
    pub address: SocketAddr,
    folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl S3 {
    /// It wants [`KEY`] and [`SECRET`].
    pub fn start() -> Self {
        Self::with(Some(SimpleAuth::from_single(KEY, SECRET)))
    }

    /// It asks nobody who he is, and does not look at what he says of that.
    pub fn open() -> Self {
        Self::with(None)
    }

    fn with(auth: Option<SimpleAuth>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("bucket")).expect("a bucket");
        let files = s3s_fs::FileSystem::new(folder.path()).expect("it serves a folder");
        let mut service = S3ServiceBuilder::new(files);
        let is_open = auth.is_none();
        if let Some(auth) = auth {
            service.set_auth(auth);
        }
        let service = service.build();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("threads");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("it can wait");
        let address = listener.local_addr().expect("it has one");
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("it listens");
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                let service = service_fn(move |mut request: Request<Incoming>| {
                    if is_open {
                        request.headers_mut().remove(AUTHORIZATION);
                    }
                    Service::call(&service, request)
                });
                tokio::spawn(async move {
                    let server = Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { address, folder, _runtime: runtime }
    }

    /// What the bucket holds, as files.
    pub fn bucket(&self) -> PathBuf {
        self.folder.path().join("bucket")
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }
}

/// A wire to a server that carries so many bytes to it, over all connections, and then no more, without a word.
pub fn stuck_wire(server: SocketAddr, most: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one");
    let carried = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(mut client), Ok(mut server)) = (client, TcpStream::connect(server)) else { return };
            let (Ok(mut to_client), Ok(mut from_server)) = (client.try_clone(), server.try_clone()) else {
                return;
            };
            let carried = carried.clone();
            thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = client.read(&mut buffer) {
                    if carried.fetch_add(n, Ordering::Relaxed) > most
                        || server.write_all(&buffer[..n]).is_err()
                    {
                        break;
                    }
                }
                thread::park();
            });
        }
    });
    address
}

/// A wire to a server. Each connection is cut when so many bytes have come back: another number each time, and of every three
/// a larger one, so that files get through.
pub struct BadWire {
    pub address: SocketAddr,
    pub cuts: Arc<AtomicUsize>,
}

impl BadWire {
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let cuts = Arc::new(AtomicUsize::new(0));
        let count = cuts.clone();
        thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                let Ok(client) = client else { return };
                let most = if number % 3 == 2 { 500_000 } else { 100 + number * 7919 % 4_000 };
                let count = count.clone();
                thread::spawn(move || wire(client, server, most, &count));
            }
        });
        Self { address, cuts }
    }
}

fn wire(mut client: TcpStream, server: SocketAddr, most: usize, cuts: &AtomicUsize) {
    let Ok(mut server) = TcpStream::connect(server) else { return };
    let (Ok(mut from_client), Ok(mut to_server)) = (client.try_clone(), server.try_clone()) else { return };
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let (mut passed, mut buffer) = (0, [0; 4096]);
    while let Ok(n @ 1..) = server.read(&mut buffer) {
        let n = n.min(most - passed);
        if client.write_all(&buffer[..n]).is_err() {
            break;
        }
        passed += n;
        if passed == most {
            cuts.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

//! A coordinator whose blobs are in a bucket of a server that speaks S3.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use betanet_fog::{List, TaskState};
use betanet_fog_client::Blob;

use crate::coordinators::Coordinator;
use crate::{Fog, input};

/// A server that speaks S3. It ends with the test.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server's program: of the variable, of `cargo xtask ci`, or of the search path.
fn program() -> PathBuf {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let installed = home.map(|home| home.join("betanet-moto-5.2.5/bin/moto_server"));
    let named = std::env::var_os("BETANET_MOTO_SERVER").map(PathBuf::from);
    let found = named.or(installed.filter(|path| path.exists()));
    found.unwrap_or_else(|| PathBuf::from("moto_server"))
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(program())
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("moto_server starts; cargo xtask ci installs it");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let told = |line: String| Some(line.split_once("Running on http://")?.1.to_owned());
        let at = lines.by_ref().find_map(|line| told(line.unwrap())).unwrap();
        // It tells of each request, and must not wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            address: at.trim().to_owned(),
        }
    }

    /// Sends a request that needs no signature from this server.
    fn ask(&self, method: &str, target: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let host = &self.address;
        let request =
            format!("{method} {target} HTTP/1.0\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 200 "), "{answer}");
        answer
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_whose_blobs_are_in_a_bucket() {
    let server = Server::start();
    server.ask("PUT", "/fog");
    let endpoint = format!("http://{}", server.address);
    let envs = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "key"),
        ("AWS_REGION", "us-east-1"),
    ];
    let (_coordinator, peer) = Coordinator::alone(&["--blobs", "s3://fog/blobs"], &envs);
    let fog = Fog::of(&[peer], tempfile::tempdir().unwrap()).await;
    let _worker = fog.worker("one").await;
    let blob = Blob::from(b"the fog and the sea".to_vec());
    fog.user.put_blob(&blob).await.unwrap();
    let mut task = fog.task(1, &["count", "in/book"]);
    task.inputs = List::try_from(vec![input("in/book", &blob)]).unwrap();
    let id = fog.submit(task).await;
    let status = fog.end(&id).await;
    assert_eq!(status.state, TaskState::Succeeded, "{status:?}");
    assert_eq!(
        fog.file(&status, "stdout").await,
        b"and 1\nfog 1\nsea 1\nthe 2\n"
    );
    // Module, input, standard output and its record: all of them are there, and nowhere else.
    let listed = server.ask("GET", "/fog?list-type=2&prefix=blobs/");
    let output = status.out.unwrap();
    let record = fog.user.output(&output).await.unwrap();
    for digest in [
        fog.module.digest(),
        blob.digest(),
        &output,
        &record.files[0].digest,
    ] {
        let name: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        assert!(listed.contains(&name), "{name}: {listed}");
    }
    fog.stop().await;
}

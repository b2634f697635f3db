//! `FILE.part`, which becomes FILE once it is whole.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::Fetch;
use crate::Error;
use crate::blob::{FETCH, PIECE};

/// The part of a file, which no other process writes.
pub(super) struct Part {
    file: Arc<File>,
    path: PathBuf,
    target: PathBuf,
}

/// Fetches all that is missing into a part.
pub(super) async fn receive(fetch: &mut Fetch, part: &mut Part) -> Result<(), Error> {
    while let Some(bytes) = fetch.chunk().await? {
        part.write(bytes).await?;
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false);
    let file = file.open(path)?;
    file.try_lock()?;
    Ok(file)
}

/// Hashes what is there. More than `max` bytes are none of the blob.
fn begin(mut file: &File, max: u64) -> io::Result<(u64, Sha256)> {
    if file.metadata()?.len() > max {
        file.set_len(0)?;
    }
    file.rewind()?;
    let (mut hash, mut len, mut piece) = (Sha256::new(), 0, vec![0; PIECE]);
    loop {
        let n = file.read(&mut piece)?;
        if n == 0 {
            return Ok((len, hash));
        }
        hash.update(&piece[..n]);
        len += n as u64;
    }
}

impl Part {
    pub(super) async fn open(target: &Path) -> Result<Self, Error> {
        let mut path = target.as_os_str().to_owned();
        path.push(".part");
        let (path, target) = (PathBuf::from(path), target.to_owned());
        let at = path.clone();
        let opened = blocking(move || open(&at)).await;
        match opened {
            Ok(file) => Ok(Self {
                file: Arc::new(file),
                path,
                target,
            }),
            Err(source) => Err(Error::File {
                what: FETCH,
                path,
                source,
            }),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&File) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let file = Arc::clone(&self.file);
        let done = blocking(move || work(&file)).await;
        done.map_err(|source| Error::File {
            what: FETCH,
            path: self.path.clone(),
            source,
        })
    }

    /// Returns the length and hash of what is there, after which writes go on.
    pub(super) async fn begin(&mut self, max: u64) -> Result<(u64, Sha256), Error> {
        self.run(move |file| begin(file, max)).await
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.run(move |mut file| file.write_all(&bytes)).await
    }

    pub(super) async fn clear(&mut self) -> Result<(), Error> {
        self.run(|file| file.set_len(0)).await
    }

    /// Keeps what is there for the next call. Nothing is kept as a part without bytes.
    pub(super) async fn keep(self) -> Result<(), Error> {
        let path = self.path.clone();
        self.run(move |file| match file.metadata()?.len() {
            0 => std::fs::remove_file(path),
            _ => file.sync_data(),
        })
        .await
    }

    /// Gives the file its name.
    pub(super) async fn complete(self) -> Result<(), Error> {
        let (path, target) = (self.path.clone(), self.target.clone());
        self.run(move |file| {
            file.sync_all()?;
            std::fs::rename(path, target)
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

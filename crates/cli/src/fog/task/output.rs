//! Files of a task's output.

use std::path::{Component, Path, PathBuf};

use betanet_fog::{Digest, Output};
use betanet_fog_client::FogClient;
use tokio::io::AsyncWriteExt as _;

use crate::Fail;

/// Checks before anything is sent that the folder can be made.
pub(super) fn check(folder: &Path) -> Result<(), Fail> {
    if folder.exists() {
        return Err(Fail::Usage(format!(
            "-o {}: it exists; name a new folder",
            folder.display()
        )));
    }
    Ok(())
}

/// The place of an output's file below a folder. The path was checked to be relative; other systems' forms are refused here.
fn place(folder: &Path, path: &str) -> Result<PathBuf, Fail> {
    let path = Path::new(path);
    let plain = |c: Component<'_>| matches!(c, Component::Normal(_));
    if path.components().all(plain) {
        return Ok(folder.join(path));
    }
    Err(Fail::Peer(format!(
        "the output names a file outside its folder: {}",
        path.display()
    )))
}

/// Prints the standard output of a program.
pub(super) async fn print(fog: &FogClient, listed: &Output) -> Result<(), Fail> {
    let Some(file) = listed.files.iter().find(|f| f.path.as_str() == "stdout") else {
        return Ok(());
    };
    let mut blob = fog.get_blob(&file.digest).await?;
    while let Some(bytes) = blob.chunk().await? {
        crate::output::print(&bytes);
        if crate::output::is_closed() {
            break;
        }
    }
    Ok(())
}

/// Fetches all files of an output into a new folder.
pub(super) async fn fetch(fog: &FogClient, out: &Digest, folder: &Path) -> Result<(), Fail> {
    let output = fog.output(out).await?;
    std::fs::create_dir(folder).map_err(Fail::file(folder))?;
    for file in &output.files {
        let path = place(folder, &file.path)?;
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(Fail::file(parent))?;
        }
        let created = tokio::fs::File::create_new(&path).await;
        let mut writer = created.map_err(Fail::file(&path))?;
        let mut blob = fog.get_blob(&file.digest).await?;
        let mut left = file.size;
        while let Some(bytes) = blob.chunk().await? {
            // The digest ends a longer blob too, but only after it filled the disk.
            let Some(rest) = left.checked_sub(bytes.len() as u64) else {
                return Err(Fail::Peer(format!(
                    "{}: longer than the output says",
                    file.path.as_str()
                )));
            };
            left = rest;
            writer.write_all(&bytes).await.map_err(Fail::file(&path))?;
        }
        writer.flush().await.map_err(Fail::file(&path))?;
    }
    note!(
        "exit code {}; {} files in {}",
        output.exit,
        output.files.len(),
        folder.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_leaves_the_folder() {
        let folder = Path::new("out");
        assert_eq!(place(folder, "a/b").unwrap(), folder.join("a/b"));
        for bad in ["../a", "/etc/passwd", "a/../../b"] {
            assert!(place(folder, bad).is_err(), "{bad}");
        }
    }
}

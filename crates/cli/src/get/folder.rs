//! `get -r`: fetches a folder with everything below it, into a local folder.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use betanet_bar::{Headers, LIST_TYPE, Method, Request, TARGET_MAX, status};
use betanet_runtime::{Clock, Error};
use serde::Deserialize;
use serde_json::json;

use super::download::{Download, Wanted};
use super::place::Place;
use super::rest::Rest;
use super::{Trouble, because, fetch, is_silent_mix, refused};
use crate::Fail;
use crate::args::GetArgs;
use crate::fail::interruptible;
use crate::progress;
use crate::source::Source;
use crate::target::{Dialling, Url};

/// Maximum depth of nested folders.
const DEPTH_MAX: usize = 64;
/// Maximum number of names overall.
const NAMES_MAX: u64 = 1 << 20;
/// Maximum number of folders that wait to be listed.
const WAITING_MAX: usize = 1 << 16;
/// Maximum length of one part of a list.
const LIST_MAX: usize = 4 << 20;
/// Maximum length of a name in bytes, as in file systems.
const NAME_MAX: usize = 255;

#[derive(Debug, Deserialize)]
struct List {
    entries: Vec<Entry>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    name: String,
}

/// Totals of the fetch.
#[derive(Default)]
struct Sums {
    names: u64,
    folders: u64,
    files: u64,
    bytes: u64,
    came: u64,
    failed: u64,
    resumed: u32,
}

/// A folder of the peer, and its local destination.
struct Folder {
    target: String,
    place: PathBuf,
    depth: usize,
}

pub(super) async fn run(args: &GetArgs, url: &Url) -> Result<(), Fail> {
    let place = match &args.output {
        Some(path) if path.as_os_str() != "-" => path.clone(),
        _ => return Err(Fail::Usage("-r needs a folder: -o DIR".into())),
    };
    if url.target.contains('?') {
        return Err(Fail::Usage(format!("{}: a folder has no query", args.url)));
    }
    let mut target = url.target.clone();
    if !target.ends_with('/') {
        target.push('/');
    }
    // The named folder may be a symbolic link, but no folder below it.
    let fresh = !place.exists();
    fs::create_dir_all(&place).map_err(Fail::file(&place))?;
    let made = place.clone();
    let mut source = Source::new(Dialling::to_url(url, &args.peer)?);
    let began = Clock::start();
    let mut sums = Sums::default();
    let mut waiting = VecDeque::from([Folder {
        target,
        place,
        depth: 0,
    }]);
    let done = interruptible(async {
        while let Some(folder) = waiting.pop_front() {
            let all = (&mut waiting, &mut sums);
            match take(args, url, &folder, all, &mut source).await {
                // A failure of one folder does not affect the next.
                Err(Fail::Peer(why)) if folder.depth > 0 && source.is_open() => {
                    note!("left out: {}: {why}", folder.place.display());
                    sums.failed += 1;
                }
                done => {
                    done?;
                    sums.folders += 1;
                }
            }
        }
        Ok(())
    })
    .await;
    source.close().await;
    if done.is_err() && fresh {
        // If nothing arrived, nothing remains. This does not remove a folder that is not empty.
        let _ = fs::remove_dir(&made);
    }
    done?;
    if args.json {
        let facts = json!({
            "url": args.url,
            "folders": sums.folders,
            "files": sums.files,
            "bytes": sums.bytes,
            "fetched": sums.came,
            "failed": sums.failed,
            "resumed": sums.resumed,
            "seconds": began.elapsed().as_secs_f64(),
        });
        say!("{facts}");
    }
    match sums.failed {
        0 => Ok(()),
        n => Err(Fail::Peer(format!(
            "{n} of {} names were not taken",
            sums.names
        ))),
    }
}

/// The names taken in one folder. They detect a peer that uses one name for both a file and a folder, whose files would collide.
#[derive(Default)]
struct Names {
    folders: BTreeSet<String>,
    files: BTreeSet<String>,
}

impl Names {
    /// Takes a name, together with the name of its part file. Returns `false` if either is taken.
    fn take(&mut self, name: &str, is_folder: bool) -> bool {
        if is_folder {
            let parts = [".part.json", ".part"];
            let whole = parts.iter().find_map(|part| name.strip_suffix(part));
            let free = [Some(name), whole].into_iter().flatten();
            return free.clone().all(|name| !self.files.contains(name))
                && self.folders.insert(name.to_owned());
        }
        let parts = ["", ".part", ".part.json"];
        let free = |part: &&str| !self.folders.contains(&format!("{name}{part}"));
        parts.iter().all(free) && self.files.insert(name.to_owned())
    }
}

/// Fetches the files of one folder, and queues its subfolders.
async fn take(
    args: &GetArgs,
    url: &Url,
    folder: &Folder,
    (waiting, sums): (&mut VecDeque<Folder>, &mut Sums),
    source: &mut Source,
) -> Result<(), Fail> {
    let mut page = folder.target.clone();
    let mut names = Names::default();
    loop {
        let list = listed(args.retries, source, &page).await?;
        for entry in list.entries {
            sums.names += 1;
            if sums.names > NAMES_MAX {
                return Err(Fail::Peer(format!("more than {NAMES_MAX} names")));
            }
            let (name, is_folder) = match entry.name.strip_suffix('/') {
                Some(name) => (name, true),
                None => (entry.name.as_str(), false),
            };
            let target = format!("{}{}", folder.target, entry.name);
            if !is_plain(name) || target.len() > TARGET_MAX {
                note!("left out: {:?}: no name of a file", entry.name);
                sums.failed += 1;
                continue;
            }
            if !names.take(name, is_folder) {
                note!("left out: {:?}: another has its name", entry.name);
                sums.failed += 1;
                continue;
            }
            let place = folder.place.join(name);
            if is_folder {
                if folder.depth >= DEPTH_MAX || waiting.len() >= WAITING_MAX {
                    return Err(Fail::Peer(format!(
                        "{target}: more than {DEPTH_MAX} folders within each other, or {WAITING_MAX} that wait"
                    )));
                }
                make(&place)?;
                waiting.push_back(Folder {
                    target,
                    place,
                    depth: folder.depth + 1,
                });
                continue;
            }
            match file(args, &url.at(target), &place, sums, source).await {
                // A failure of one file does not affect the next.
                Err(Trouble::Fail(Fail::Peer(why))) => {
                    note!("left out: {}: {why}", place.display());
                    sums.failed += 1;
                }
                done => done?,
            }
        }
        match list.next {
            // A continuation that leads elsewhere or makes no progress is invalid.
            Some(next) if next > page && next.starts_with(&format!("{}?", folder.target)) => {
                page = next;
            }
            Some(next) => return Err(Fail::Peer(format!("{page}: its list goes on at {next:?}"))),
            None => return Ok(()),
        }
    }
}

async fn file(
    args: &GetArgs,
    url: &Url,
    path: &Path,
    sums: &mut Sums,
    source: &mut Source,
) -> Result<(), Trouble> {
    // A peer that knows this machine's files could name a symbolic link that leads elsewhere.
    if fs::symlink_metadata(path).is_ok_and(|m| !m.is_file()) {
        return Err(Fail::Local(format!(
            "{}: is no file here, and is left as it is",
            path.display()
        ))
        .into());
    }
    let wanted = Wanted {
        resume: true,
        ..Wanted::default()
    };
    let mut download = Download::begin(url, Place::File(path.to_owned()), wanted)?;
    let (_, resumed) = fetch(args.retries, source, &mut download).await?;
    let fetched = download.finish().await?;
    sums.files += 1;
    sums.bytes += fetched.bytes;
    sums.came += fetched.came;
    sums.resumed += resumed;
    Ok(())
}

/// Creates a local folder if it does not exist.
fn make(path: &Path) -> Result<(), Fail> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(Fail::Local(format!(
            "{}: is no folder here, and is left as it is",
            path.display()
        ))),
        Err(_) => fs::create_dir(path).map_err(Fail::file(path)),
    }
}

/// Returns whether a name is a plain file or folder name, without a path.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX
        && !name.starts_with('.')
        && !name.contains(['/', '\\', '?'])
        && !name.chars().any(char::is_control)
}

/// Fetches one part of a folder's list.
async fn listed(retries: u32, source: &mut Source, target: &str) -> Result<List, Fail> {
    let (mut retries, mut rest, mut last) = (retries, Rest::new(), None);
    loop {
        match list_once(source, target).await {
            Err(trouble) if rest.over(&trouble).await => {}
            Err(Trouble::Cut(why)) if source.is_reached() && retries > 0 => {
                if is_silent_mix(&why) {
                    return Err(Trouble::Cut(why).into());
                }
                progress::failed(&why);
                last = Some(why);
                retries -= 1;
                source.forget();
            }
            Err(trouble) => return Err(because(last, trouble).into()),
            Ok(list) => return Ok(list),
        }
    }
}

async fn list_once(source: &mut Source, target: &str) -> Result<List, Trouble> {
    let session = source.session().await?;
    let headers = Headers::default().with("accept", LIST_TYPE);
    let request = Request::new(Method::Get, target, headers);
    let mut answer = source.step(session.ask(request)).await??;
    let kind = answer.head.headers.text("content-type");
    let is_list = kind == Some(LIST_TYPE);
    match answer.head.status {
        status::OK if is_list => {}
        status::OK | status::NOT_FOUND => {
            return Err(Fail::Peer(format!(
                "{target}: is no folder there, or the server has no --listing"
            ))
            .into());
        }
        _ => return Err(Fail::Peer(refused(answer).await).into()),
    }
    let text = source.step(answer.body.all(LIST_MAX)).await?;
    let text = text.map_err(Error::from)?;
    text.and_then(|t| serde_json::from_slice(&t).ok())
        .ok_or_else(|| Fail::Peer(format!("{target}: the peer's list does not read")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_file_and_a_folder_is_taken_once() {
        let mut names = Names::default();
        for (name, is_folder, taken) in [
            ("a", true, true),
            ("a", false, false),
            ("b", false, true),
            ("b", true, false),
            ("b", false, false),
            ("b.part", true, false),
            ("b.part.json", true, false),
            ("c.part", true, true),
            ("c", false, false),
            ("b.part", false, true),
        ] {
            assert_eq!(names.take(name, is_folder), taken, "{name} {is_folder}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "..\\x",
            "a\0",
            "a\nb",
            "?",
            &"x".repeat(256),
        ] {
            assert!(!is_plain(bad), "{bad:?}");
        }
        for good in ["a", "a b", "ü", "x..y", &"x".repeat(255)] {
            assert!(is_plain(good), "{good:?}");
        }
    }
}

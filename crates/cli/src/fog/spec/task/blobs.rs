//! The module and the inputs of a task.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use betanet_fog::{TaskId, Text};
use betanet_wire::text;
use serde_json::Value;

use super::{BlobSource, InputSource, LIST_MAX, long_text, task_id};
use crate::fog::spec::table::Table;
use crate::fog::spec::units::bytes;

/// Reads a file name, or a table with the digest and the size of a stored blob. Without a folder, no file is named.
fn blob(value: &Value, folder: Option<&Path>) -> Option<BlobSource> {
    match value {
        Value::String(path) if !path.is_empty() => Some(BlobSource::File(folder?.join(path))),
        Value::Object(map) if map.len() == 2 => Some(BlobSource::Stored {
            digest: text::unhex_array(map.get("sha256")?.as_str()?)?,
            size: bytes(map.get("size")?)?,
        }),
        _ => None,
    }
}

pub(super) fn module(t: &mut Table<'_>, folder: Option<&Path>) -> BlobSource {
    let allowed = match folder {
        Some(_) => "a file of up to 64 MiB, or { sha256 = HEX, size = SIZE } of a stored blob",
        None => "{ sha256 = HEX, size = SIZE } of a stored blob of up to 64 MiB",
    };
    let none = BlobSource::File(PathBuf::new());
    if !t.has("module") {
        t.problem("module", "", format!("missing; {allowed}"));
    }
    let read = t.read("module", allowed, |v| blob(v, folder));
    match &read {
        Some(BlobSource::File(path)) => match std::fs::metadata(path) {
            Ok(meta) if !meta.is_file() || !(1..=1 << 26).contains(&meta.len()) => {
                t.problem("module", &path.display().to_string(), allowed);
            }
            Ok(_) => {}
            Err(error) => t.problem("module", &path.display().to_string(), error.to_string()),
        },
        Some(BlobSource::Stored { size, .. }) if !(1..=1 << 26).contains(size) => {
            t.problem("module", &format!("size {size}"), allowed);
        }
        _ => {}
    }
    read.unwrap_or(none)
}

pub(super) fn inputs(
    t: &mut Table<'_>,
    folder: Option<&Path>,
    after: &[String],
    ids: &[TaskId],
) -> Vec<(Text, InputSource)> {
    let allowed = match folder {
        Some(_) => {
            "PATH = a file of up to 4 GiB, { sha256, size } of a stored blob, or { task, file } of a task in after"
        }
        None => {
            "PATH = { sha256, size } of a stored blob of up to 4 GiB, or { task, file } of a task in after"
        }
    };
    let table = t.table("inputs");
    let (problems, at) = (table.problems(), table.at(""));
    let mut all = Vec::new();
    for (path, value) in table.entries() {
        let key = format!("{at}{path}");
        let told = |why: &str| problems.add(key.clone(), &value.to_string(), why);
        let good = |path: &str| {
            let segment = |s: &str| !matches!(s, "" | "." | "..");
            !path.chars().any(|c| c.is_control() || c == '\\') && path.split('/').all(segment)
        };
        let Some(place) = path.parse::<Text>().ok().filter(|p| good(p)) else {
            told("the path is relative, without '.', '..' or empty parts");
            continue;
        };
        let source = match value.get("task").and_then(Value::as_str) {
            Some(task) => {
                let file = value.get("file").and_then(long_text).filter(|f| good(f));
                let of_name = after.iter().any(|name| name == task);
                let of_id = task_id(task).filter(|id| ids.contains(id));
                match (file, of_id) {
                    (Some(file), _) if of_name => Some(InputSource::Output {
                        task: task.to_owned(),
                        file,
                    }),
                    (Some(file), Some(task)) => Some(InputSource::OutputOf { task, file }),
                    _ => None,
                }
            }
            None => blob(&value, folder).map(InputSource::Blob),
        };
        match &source {
            Some(InputSource::Blob(BlobSource::File(file))) => match std::fs::metadata(file) {
                Ok(meta) if !meta.is_file() || meta.len() > 1 << 32 => told(allowed),
                Ok(_) => {}
                Err(error) => told(&error.to_string()),
            },
            Some(InputSource::Blob(BlobSource::Stored { size, .. })) if *size > 1 << 32 => {
                told(allowed);
            }
            Some(_) => {}
            None => told(allowed),
        }
        all.extend(source.map(|source| (place, source)));
    }
    if all.len() > LIST_MAX {
        t.problem(
            "inputs",
            &format!("{} files", all.len()),
            "at most 64 files",
        );
    }
    let folders: BTreeSet<String> = all.iter().map(|(path, _)| format!("{path}/")).collect();
    for (path, _) in &all {
        if let Some(file) = folders.iter().find(|f| path.starts_with(f.as_str())) {
            t.problem(
                "inputs",
                path,
                format!("{file} is a file, and cannot be a folder too"),
            );
        }
    }
    all
}

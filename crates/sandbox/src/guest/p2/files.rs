//! Files of components.
//!
//! The library's types of a descriptor and of a listing stand for the machine's files. Here only their numbers are used, which lead
//! to the guest's own.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};
use wasmtime_wasi::p2::{
    FsError, FsResult,
    bindings::filesystem::{
        preopens,
        types::{
            self, Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry,
            DirectoryEntryStream, ErrorCode, Filesize, MetadataHashValue, NewTimestamp, OpenFlags,
            PathFlags,
        },
    },
};

use super::{
    convert::{code, fs_error, hash, kind, stat},
    streams::{Channel, Failed, PART_MAX, Reader, Stream},
};
use crate::guest::{
    Guest,
    fs::{NodeId, Open, ROOT, What},
    lock,
};

/// Most descriptors of a guest.
const DESCRIPTORS_MAX: usize = 1024;

/// An open file or folder.
struct Opened {
    node: NodeId,
    read: bool,
    write: bool,
}

/// How far a folder has been listed: up to this name.
struct Listing {
    node: NodeId,
    last: String,
}

/// How many descriptors there are.
#[derive(Default)]
pub(crate) struct Table {
    opened: usize,
}

fn own(fd: &Resource<Descriptor>) -> Resource<Opened> {
    Resource::new_own(fd.rep())
}

fn follows(flags: PathFlags) -> bool {
    flags.contains(PathFlags::SYMLINK_FOLLOW)
}

impl Guest {
    fn opened(&self, fd: &Resource<Descriptor>) -> FsResult<&Opened> {
        Ok(self.table.get(&own(fd))?)
    }

    fn node(&self, fd: &Resource<Descriptor>) -> FsResult<NodeId> {
        Ok(self.opened(fd)?.node)
    }

    /// A descriptor that may be read or written.
    fn readable(&self, fd: &Resource<Descriptor>) -> FsResult<NodeId> {
        let opened = self.opened(fd)?;
        if opened.read {
            Ok(opened.node)
        } else {
            Err(ErrorCode::BadDescriptor.into())
        }
    }

    fn writable(&self, fd: &Resource<Descriptor>) -> FsResult<NodeId> {
        let opened = self.opened(fd)?;
        if opened.write {
            Ok(opened.node)
        } else {
            Err(ErrorCode::BadDescriptor.into())
        }
    }

    /// Adds what has been opened; the file is let go again if there are too many.
    fn descriptor(&mut self, opened: Opened) -> FsResult<Resource<Descriptor>> {
        let node = opened.node;
        if self.descriptors.opened >= DESCRIPTORS_MAX {
            lock(&self.fs).release(node);
            return Err(ErrorCode::InsufficientMemory.into());
        }
        let resource = self.table.push(opened)?;
        self.descriptors.opened += 1;
        Ok(Resource::new_own(resource.rep()))
    }

    fn set_node_times(
        &mut self,
        node: NodeId,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let one = |time| match time {
            NewTimestamp::NoChange => None,
            NewTimestamp::Now => Some(lock(&self.clock).wall()),
            NewTimestamp::Timestamp(t) => Some(
                t.seconds
                    .saturating_mul(1_000_000_000)
                    .saturating_add(t.nanoseconds.into()),
            ),
        };
        let (accessed, modified) = (one(accessed), one(modified));
        lock(&self.fs)
            .set_times(node, accessed, modified)
            .map_err(fs_error)
    }

    fn write_stream(
        &mut self,
        channel: Channel,
        node: NodeId,
    ) -> FsResult<Resource<DynOutputStream>> {
        lock(&self.fs).retain(node).map_err(fs_error)?;
        let stream: DynOutputStream = Box::new(Stream::new(self.fs.clone(), channel));
        Ok(self.table.push(stream)?)
    }
}

impl preopens::Host for Guest {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        lock(&self.fs)
            .retain(ROOT)
            .map_err(|_| wasmtime::Error::msg("there is no folder"))?;
        let root = self.descriptor(Opened {
            node: ROOT,
            read: true,
            write: true,
        })?;
        Ok(vec![(root, "/".to_owned())])
    }
}

impl types::Host for Guest {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(self
            .table
            .get(&error)?
            .downcast_ref::<Failed>()
            .map(|failed| code(failed.0)))
    }
}

impl types::HostDescriptor for Guest {
    async fn advise(
        &mut self,
        fd: Resource<Descriptor>,
        _: Filesize,
        _: Filesize,
        _: types::Advice,
    ) -> FsResult<()> {
        self.node(&fd).map(drop)
    }

    async fn sync_data(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.node(&fd).map(drop)
    }

    async fn sync(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.node(&fd).map(drop)
    }

    async fn get_flags(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        let node = self.node(&fd)?;
        let folder = lock(&self.fs).stat(node).map_err(fs_error)?.what == What::Folder;
        let opened = self.opened(&fd)?;
        let flag = |is: bool, flag| if is { flag } else { DescriptorFlags::empty() };
        let written = if folder {
            DescriptorFlags::MUTATE_DIRECTORY
        } else {
            DescriptorFlags::WRITE
        };
        let flags = flag(opened.read, DescriptorFlags::READ) | flag(opened.write, written);
        Ok(flags)
    }

    async fn get_type(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorType> {
        let node = self.node(&fd)?;
        Ok(kind(lock(&self.fs).stat(node).map_err(fs_error)?.what))
    }

    async fn set_size(&mut self, fd: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        let node = self.writable(&fd)?;
        lock(&self.fs).resize(node, size).map_err(fs_error)
    }

    async fn set_times(
        &mut self,
        fd: Resource<Descriptor>,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let node = self.node(&fd)?;
        self.set_node_times(node, accessed, modified)
    }

    async fn read(
        &mut self,
        fd: Resource<Descriptor>,
        len: Filesize,
        at: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        let node = self.readable(&fd)?;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(PART_MAX).min(PART_MAX)];
        let fs = lock(&self.fs);
        let n = fs.read(node, at, &mut bytes).map_err(fs_error)?;
        let end = at.saturating_add(n as u64) >= fs.size(node).map_err(fs_error)?;
        bytes.truncate(n);
        Ok((bytes, end))
    }

    async fn write(
        &mut self,
        fd: Resource<Descriptor>,
        bytes: Vec<u8>,
        at: Filesize,
    ) -> FsResult<Filesize> {
        let node = self.writable(&fd)?;
        lock(&self.fs).write(node, at, &bytes).map_err(fs_error)?;
        Ok(bytes.len() as u64)
    }

    async fn read_directory(
        &mut self,
        fd: Resource<Descriptor>,
    ) -> FsResult<Resource<DirectoryEntryStream>> {
        let node = self.node(&fd)?;
        lock(&self.fs).entries(node).map(drop).map_err(fs_error)?;
        let last = String::new();
        let listing = self.table.push(Listing { node, last })?;
        lock(&self.fs).retain(node).map_err(fs_error)?;
        Ok(Resource::new_own(listing.rep()))
    }

    async fn create_directory_at(
        &mut self,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        let node = self.node(&fd)?;
        lock(&self.fs).make_folder(node, &path).map_err(fs_error)
    }

    async fn stat(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        let node = self.node(&fd)?;
        Ok(stat(lock(&self.fs).stat(node).map_err(fs_error)?))
    }

    async fn stat_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        let node = self.node(&fd)?;
        Ok(stat(
            lock(&self.fs)
                .stat_at(node, &path, follows(flags))
                .map_err(fs_error)?,
        ))
    }

    async fn set_times_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let node = self.node(&fd)?;
        let node = lock(&self.fs)
            .must_find(node, &path, follows(flags))
            .map_err(fs_error)?;
        self.set_node_times(node, accessed, modified)
    }

    async fn link_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        old: String,
        to: Resource<Descriptor>,
        new: String,
    ) -> FsResult<()> {
        let (from, to) = (self.node(&fd)?, self.node(&to)?);
        lock(&self.fs)
            .link(from, &old, follows(flags), to, &new)
            .map_err(fs_error)
    }

    async fn open_at(
        &mut self,
        fd: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let folder = self.node(&fd)?;
        let write = flags.contains(DescriptorFlags::WRITE);
        let how = Open {
            follow: follows(path_flags),
            create: open.contains(OpenFlags::CREATE),
            folder: open.contains(OpenFlags::DIRECTORY),
            exclusive: open.contains(OpenFlags::EXCLUSIVE),
            truncate: open.contains(OpenFlags::TRUNCATE),
            write: write && !open.contains(OpenFlags::DIRECTORY),
        };
        let node = lock(&self.fs).open(folder, &path, how).map_err(fs_error)?;
        let read = flags.contains(DescriptorFlags::READ);
        let write = write || flags.contains(DescriptorFlags::MUTATE_DIRECTORY);
        self.descriptor(Opened { node, read, write })
    }

    fn drop(&mut self, fd: Resource<Descriptor>) -> wasmtime::Result<()> {
        let opened = self.table.delete(own(&fd))?;
        self.descriptors.opened -= 1;
        lock(&self.fs).release(opened.node);
        Ok(())
    }

    async fn readlink_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<String> {
        let node = self.node(&fd)?;
        Ok(lock(&self.fs)
            .read_link(node, &path)
            .map_err(fs_error)?
            .to_owned())
    }

    async fn remove_directory_at(
        &mut self,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        let node = self.node(&fd)?;
        lock(&self.fs).remove_folder(node, &path).map_err(fs_error)
    }

    async fn rename_at(
        &mut self,
        fd: Resource<Descriptor>,
        old: String,
        to: Resource<Descriptor>,
        new: String,
    ) -> FsResult<()> {
        let (from, to) = (self.node(&fd)?, self.node(&to)?);
        lock(&self.fs)
            .rename(from, &old, to, &new)
            .map_err(fs_error)
    }

    async fn symlink_at(
        &mut self,
        fd: Resource<Descriptor>,
        to: String,
        path: String,
    ) -> FsResult<()> {
        let node = self.node(&fd)?;
        lock(&self.fs).make_link(&to, node, &path).map_err(fs_error)
    }

    async fn unlink_file_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        let node = self.node(&fd)?;
        lock(&self.fs).unlink(node, &path).map_err(fs_error)
    }

    fn read_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        at: Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        let node = self.readable(&fd)?;
        lock(&self.fs).retain(node).map_err(fs_error)?;
        let stream: DynInputStream = Box::new(Reader::new(self.fs.clone(), node, at));
        Ok(self.table.push(stream)?)
    }

    fn write_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        at: Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        let node = self.writable(&fd)?;
        self.write_stream(Channel::At(node, at), node)
    }

    fn append_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let node = self.writable(&fd)?;
        self.write_stream(Channel::Append(node), node)
    }

    async fn is_same_object(
        &mut self,
        a: Resource<Descriptor>,
        b: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        Ok(self.table.get(&own(&a))?.node == self.table.get(&own(&b))?.node)
    }

    async fn metadata_hash(&mut self, fd: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        let node = self.node(&fd)?;
        Ok(hash(lock(&self.fs).stat(node).map_err(fs_error)?))
    }

    async fn metadata_hash_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        let node = self.node(&fd)?;
        Ok(hash(
            lock(&self.fs)
                .stat_at(node, &path, follows(flags))
                .map_err(fs_error)?,
        ))
    }
}

impl types::HostDirectoryEntryStream for Guest {
    async fn read_directory_entry(
        &mut self,
        listing: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        let listing = self
            .table
            .get_mut(&Resource::<Listing>::new_own(listing.rep()))?;
        let next = lock(&self.fs)
            .entries_after(listing.node, &listing.last)
            .map_err(fs_error)?
            .next()
            .map(|(name, _, what)| (name.to_owned(), what));
        let Some((name, what)) = next else {
            return Ok(None);
        };
        listing.last.clone_from(&name);
        Ok(Some(DirectoryEntry {
            type_: kind(what),
            name,
        }))
    }

    fn drop(&mut self, listing: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        let listing = self
            .table
            .delete(Resource::<Listing>::new_own(listing.rep()))?;
        lock(&self.fs).release(listing.node);
        Ok(())
    }
}

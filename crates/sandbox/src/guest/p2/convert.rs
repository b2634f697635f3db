//! From the guest's files to the types of preview 2.

use wasmtime_wasi::p2::{
    FsError,
    bindings::filesystem::types::{DescriptorStat, DescriptorType, ErrorCode, MetadataHashValue},
};

use super::clock::datetime;
use crate::guest::{
    fs::{Stat, What},
    stop::{Errno, Fail},
};

pub(super) fn code(errno: Errno) -> ErrorCode {
    match errno {
        Errno::Acces => ErrorCode::Access,
        Errno::Badf | Errno::NotSock => ErrorCode::BadDescriptor,
        Errno::Exist => ErrorCode::Exist,
        Errno::Fault | Errno::Inval => ErrorCode::Invalid,
        Errno::FBig => ErrorCode::FileTooLarge,
        Errno::Ilseq => ErrorCode::IllegalByteSequence,
        Errno::Io => ErrorCode::Io,
        Errno::IsDir => ErrorCode::IsDirectory,
        Errno::Loop => ErrorCode::Loop,
        Errno::MFile => ErrorCode::InsufficientMemory,
        Errno::NameTooLong => ErrorCode::NameTooLong,
        Errno::NoEnt => ErrorCode::NoEntry,
        Errno::NotDir => ErrorCode::NotDirectory,
        Errno::NotEmpty => ErrorCode::NotEmpty,
        Errno::NotSup => ErrorCode::Unsupported,
        Errno::Overflow => ErrorCode::Overflow,
        Errno::Perm => ErrorCode::NotPermitted,
        Errno::RoFs => ErrorCode::ReadOnly,
        Errno::SPipe => ErrorCode::InvalidSeek,
    }
}

pub(super) fn fs_error(fail: Fail) -> FsError {
    match fail {
        Fail::Errno(errno) => code(errno).into(),
        Fail::Stop(stop) => FsError::trap(stop),
    }
}

pub(super) fn kind(what: What) -> DescriptorType {
    match what {
        What::File => DescriptorType::RegularFile,
        What::Folder => DescriptorType::Directory,
        What::Link => DescriptorType::SymbolicLink,
    }
}

pub(super) fn stat(stat: Stat) -> DescriptorStat {
    DescriptorStat {
        type_: kind(stat.what),
        link_count: stat.links,
        size: stat.size,
        data_access_timestamp: Some(datetime(stat.accessed)),
        data_modification_timestamp: Some(datetime(stat.modified)),
        status_change_timestamp: Some(datetime(stat.modified)),
    }
}

pub(super) fn hash(stat: Stat) -> MetadataHashValue {
    MetadataHashValue {
        lower: stat.node,
        upper: stat.modified ^ stat.size.rotate_left(32),
    }
}

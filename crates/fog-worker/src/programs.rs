//! A program to try a fog with, compiled from C. Its source and the command that compiled it are in the folder `programs`.

/// `words`: counts words (`count FILE...`), adds such counts up (`sum FILE...`), burns fuel (`spin MILLIONS`), and more.
pub const WORDS: &[u8] = include_bytes!("../programs/words.wasm");

use std::path::Path;
fn main() { let dir = std::env::args().nth(2).unwrap_or("spec-vectors".into());
 let ok = xtask::vectors::run(Path::new(&dir), &mut |l| println!("{l}")).unwrap(); std::process::exit(i32::from(!ok)); }

//! Lists what `plugins new` copies into a project: the contract, the SDK's sources, helpers and the templates.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Folders of the repository that are copied from.
const FOLDERS: [&str; 4] = ["wit", "sdk/src", "sdk/helpers", "sdk/templates"];

/// Single files of the repository that are copied from.
const FILES: [&str; 2] = ["sdk/Cargo.toml", "Cargo.toml"];

/// What building a template in place leaves behind.
const BUILT: [&str; 7] =
    ["target", "build", "vendor", "__pycache__", "node_modules", "Cargo.lock", "package-lock.json"];

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo")).join("../..").canonicalize()?;
    let mut files: Vec<PathBuf> = FILES.iter().map(|file| root.join(file)).collect();
    for folder in FOLDERS {
        println!("cargo::rerun-if-changed={}", root.join(folder).display());
        collect(&root.join(folder), &mut files)?;
    }
    for file in FILES {
        println!("cargo::rerun-if-changed={}", root.join(file).display());
    }
    files.sort();
    let mut list = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&root).expect("found below it").display();
        writeln!(list, "    ({:?}, include_str!({:?})),", name.to_string(), file.display().to_string())
            .expect("written to memory");
    }
    list.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    fs::write(out.join("sources.rs"), list)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_component = path.extension().is_some_and(|extension| extension == "wasm");
        if BUILT.contains(&name.as_str()) || is_component {
            continue;
        }
        if path.is_dir() { collect(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

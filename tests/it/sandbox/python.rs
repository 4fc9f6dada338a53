//! A component of Python, the largest there is: it compiles within the default memory of the compiling child.
//!
//! Only with `cargo xtask test --suite sandbox --long`, since it installs componentize-py from PyPI and compiles for a
//! minute. Where that can't be installed, the test says so and measures nothing.

use std::path::Path;
use std::process::{Command, Stdio};

use super::*;
use crate::support::long::is_long;

/// Least bytes of such a component: most of it is the interpreter.
const PYTHON_BYTES_MIN: usize = 15 << 20;

/// Runs a program in a folder; what it said if it failed.
fn run(folder: &Path, program: &Path, arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new(program);
    let ended = command.current_dir(folder).args(arguments).stdin(Stdio::null()).output();
    match ended {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{}: {}", program.display(), String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(format!("{}: {error}", program.display())),
    }
}

/// The project of the template, with componentize-py in it; why that can't be installed otherwise.
fn project(folder: &Path) -> Result<PathBuf, String> {
    let backline = Path::new(env!("CARGO_BIN_EXE_backline"));
    let into = folder.to_string_lossy();
    run(folder, backline, &["plugins", "new", "moon", "--lang", "python", "--folder", &into]).expect("a project");
    let project = folder.join("moon");
    run(&project, Path::new("python3"), &["-m", "venv", "build/venv"])?;
    run(&project, &project.join("build/venv/bin/pip"), &["install", "--quiet", "-r", "requirements.txt"])?;
    Ok(project)
}

/// Builds the component as the template's README.md says.
fn component(project: &Path) -> Vec<u8> {
    let built = |program: &Path, arguments: &[&str]| run(project, program, arguments).expect("it is built");
    let componentize = project.join("build/venv/bin/componentize-py");
    let world = ["-d", "vendor/wit/connector/1.0.0", "-w", "connector"];
    built(&componentize, &[&world[..], &["bindings", "build/bindings"]].concat());
    built(&componentize, &[&world[..], &["componentize", "app", "-o", "build/core.wasm"]].concat());
    let packed = ["plugins", "pack", "build/core.wasm", "--output", "moon.wasm", "--force"];
    built(Path::new(env!("CARGO_BIN_EXE_backline")), &packed);
    std::fs::read(project.join("moon.wasm")).expect("it is there")
}

#[tokio::test]
async fn a_component_of_python_compiles_within_the_default_memory() {
    if !is_long() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let project = match project(folder.path()) {
        Ok(project) => project,
        Err(why) => return eprintln!("not measured, componentize-py can't be installed: {why}"),
    };
    let component = component(&project);
    assert!(component.len() > PYTHON_BYTES_MIN, "{} bytes", component.len());
    let memory_bytes_max = CompileLimits::default().memory_bytes_max;
    // It is memory that is measured: a debug build compiles slowly.
    let limits = CompileLimits { memory_bytes_max, cpu_s_max: 1_200, wall_s_max: 1_800 };
    let sandbox = sandbox(|config| {
        config.compiler = Some(PathBuf::from(env!("CARGO_BIN_EXE_backline")));
        config.compile = limits;
        config.memory_bytes_max = SandboxConfig::default().memory_bytes_max;
    });
    let began = std::time::Instant::now();
    let loaded = sandbox.load(&component, Digest::of(&component), None).await;
    let (connector, _) = loaded.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(connector.manifest().connector.name, "moon");
    eprintln!("{} bytes compile within {memory_bytes_max} bytes, in {:?}", component.len(), began.elapsed());
}

//! What the host itself checks, in its sandbox: `cargo test` runs it too where the `backline` command is on the PATH.

use std::io::{ErrorKind, Write as _, stderr};
use std::process::{Command, Output};

fn backline(arguments: &[&str]) -> std::io::Result<Output> {
    Command::new("backline").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output()
}

#[test]
fn passes_the_checks_of_the_host() {
    match backline(&["--version"]) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Written past the test's captured output, so that everyone sees it.
            let said = "NOT CHECKED: the backline command is not on the PATH, so the host's checks were not run";
            writeln!(stderr(), "{said}").expect("written");
            return;
        }
        Err(error) => panic!("the backline command can't be run: {error}"),
    }
    let conformance = ["plugins", "conformance", "my-connector.wasm", "--answers", "answers"];
    // `dev` builds and packs what `conformance` checks.
    for arguments in [&["plugins", "dev", ".", "--once"][..], &conformance] {
        let output = backline(arguments).expect("it runs");
        let (said, why) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "backline {}:\n{said}\n{why}", arguments.join(" "));
    }
}

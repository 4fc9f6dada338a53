//! The `backline` binary.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result: Result<(), Box<dyn std::error::Error>> = match arguments.as_slice() {
        [_, "compile-component", component, compiled] => {
            backline::sandbox::compile::child_main(Path::new(component), Path::new(compiled), &Default::default())
                .map_err(Into::into)
        }
        [_, "plugins", "pack", core, manifest, output] => (|| {
            let packed = backline::plugins::pack(&std::fs::read(core)?, &std::fs::read_to_string(manifest)?)?;
            std::fs::write(output, packed)?;
            Ok(())
        })(),
        _ => Ok(()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

//! A core module as a bare compiler makes it, which `pack` completes: what it prints is logged.

use backline_component::pack;
use backline_model::fixtures::manifest_with;

use super::*;

/// Prints two pieces to standard error, of which the first has a letter of Latin-1, and answers one document with an
/// error without a text.
const PRINTS: &str = r#"
    (module
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 2)
      (global $free (mut i32) (i32.const 65536))
      ;; Address and length of each piece.
      (data (i32.const 1024) "\00\08\00\00\07\00\00\00\00\09\00\00\05\00\00\00")
      (data (i32.const 2048) "caf\e9 au")
      (data (i32.const 2304) "lait\0a")
      ;; A list of one result: its address and length, and the error's tag at that address.
      (data (i32.const 3072) "\08\0c\00\00\01\00\00\00\01")
      (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (global.get $free)
        (global.set $free
          (i32.add (global.get $free) (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8)))))
      (func (export "backline:connector/source@1.0.0#check")
        (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (unreachable))
      (func (export "backline:connector/source@1.0.0#fetch")
        (param i32 i32 i64 i64 i32 i32) (result i32) (unreachable))
      (func (export "backline:connector/source@1.0.0#normalize") (param i32 i32) (result i32)
        (drop (call $write (i32.const 2) (i32.const 1024) (i32.const 2) (i32.const 4096)))
        (i32.const 3072)))
"#;

#[tokio::test]
async fn what_a_bare_module_prints_is_logged_and_bytes_that_are_no_text_end_no_call() {
    let module = wat::parse_str(PRINTS).expect("a module");
    let component = pack(&module, &manifest_with("")).expect("packed");
    let sandbox = sandbox(|_| {});
    let (connector, _) = sandbox.load(&component, Digest::of(&component), None).await.expect("loaded");
    let call = connector.normalize(vec![document("{}")]).await.expect("an answer");
    assert!(matches!(call.value.as_slice(), [Err(why)] if why.is_empty()), "{:?}", call.value);
    let lines: Vec<_> = call.usage.log_lines.iter().map(|line| (line.level, line.message.as_str())).collect();
    assert_eq!(lines, [(LogLevel::Warn, "caf"), (LogLevel::Warn, " au"), (LogLevel::Warn, "lait")]);
}

;; What `pack` puts behind the imports of wasi_snapshot_preview1 of a core module: nothing. No files, no sockets, no
;; arguments, and of the environment one variable. Time begins at 1970 and goes on by a millisecond each time it is
;; read, random numbers are the same in every instance, and what is written to standard output and error is written to
;; the connector's log.
;;
;; Functions and types: WASI, snapshot 01. A module keeps only those that it imports.
(module
  (import "env" "memory" (memory 0))
  (import "backline:connector/log@1.0.0" "write" (func $log (param i32 i32 i32)))

  ;; Nanoseconds since 1970, never 0, which Go takes for a broken clock.
  (global $time (mut i64) (i64.const 1000000))
  (global $random (mut i64) (i64.const 0x9e3779b97f4a7c15))

  (func (export "args_sizes_get") (param $count i32) (param $size i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $size) (i32.const 0))
    (i32.const 0))
  (func (export "args_get") (param i32 i32) (result i32) (i32.const 0))

  ;; GOTRACEBACK=none: a panic of Go says why, and leaves out the stacks, which the log would take piece by piece. The
  ;; trap's own text names the functions.
  (func (export "environ_sizes_get") (param $count i32) (param $size i32) (result i32)
    (i32.store (local.get $count) (i32.const 1))
    (i32.store (local.get $size) (i32.const 17))
    (i32.const 0))
  (func (export "environ_get") (param $variables i32) (param $text i32) (result i32)
    (i32.store (local.get $variables) (local.get $text))
    (i64.store (local.get $text) (i64.const 0x4245434152544f47)) ;; GOTRACEB
    (i64.store offset=8 (local.get $text) (i64.const 0x656e6f6e3d4b4341)) ;; ACK=none
    (i32.store8 offset=16 (local.get $text) (i32.const 0))
    (i32.const 0))

  (func (export "clock_res_get") (param i32) (param $out i32) (result i32)
    (i64.store (local.get $out) (i64.const 1000000))
    (i32.const 0))
  (func (export "clock_time_get") (param i32 i64) (param $out i32) (result i32)
    (global.set $time (i64.add (global.get $time) (i64.const 1000000)))
    (i64.store (local.get $out) (global.get $time))
    (i32.const 0))

  ;; Byte by byte, by xorshift.
  (func (export "random_get") (param $out i32) (param $length i32) (result i32)
    (local $x i64)
    (local.set $x (global.get $random))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $length)))
        (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
        (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
        (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
        (i64.store8 (local.get $out) (local.get $x))
        (local.set $out (i32.add (local.get $out) (i32.const 1)))
        (local.set $length (i32.sub (local.get $length) (i32.const 1)))
        (br $next)))
    (global.set $random (local.get $x))
    (i32.const 0))

  ;; Bytes of the character that begins at an address; 0 if it is no whole one of UTF-8 (RFC 3629, section 4).
  (func $character (param $at i32) (param $end i32) (result i32)
    (local $first i32) (local $second i32) (local $size i32) (local $n i32)
    (local.set $first (i32.load8_u (local.get $at)))
    (if (i32.lt_u (local.get $first) (i32.const 0x80)) (then (return (i32.const 1))))
    (if (i32.or (i32.lt_u (local.get $first) (i32.const 0xc2)) (i32.gt_u (local.get $first) (i32.const 0xf4)))
      (then (return (i32.const 0))))
    (local.set $size
      (i32.add
        (i32.const 2)
        (i32.add
          (i32.ge_u (local.get $first) (i32.const 0xe0))
          (i32.ge_u (local.get $first) (i32.const 0xf0)))))
    (if (i32.gt_u (local.get $size) (i32.sub (local.get $end) (local.get $at))) (then (return (i32.const 0))))
    (local.set $second (i32.load8_u offset=1 (local.get $at)))
    ;; Written longer than needed, a half of UTF-16, or past the last character.
    (if (i32.or
          (i32.or
            (i32.and (i32.eq (local.get $first) (i32.const 0xe0)) (i32.lt_u (local.get $second) (i32.const 0xa0)))
            (i32.and (i32.eq (local.get $first) (i32.const 0xf0)) (i32.lt_u (local.get $second) (i32.const 0x90))))
          (i32.or
            (i32.and (i32.eq (local.get $first) (i32.const 0xed)) (i32.ge_u (local.get $second) (i32.const 0xa0)))
            (i32.and (i32.eq (local.get $first) (i32.const 0xf4)) (i32.ge_u (local.get $second) (i32.const 0x90)))))
      (then (return (i32.const 0))))
    (local.set $n (i32.const 1))
    (loop $next
      (if (i32.ne
            (i32.and (i32.load8_u (i32.add (local.get $at) (local.get $n))) (i32.const 0xc0))
            (i32.const 0x80))
        (then (return (i32.const 0))))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $n) (local.get $size))))
    (local.get $size))

  ;; Writes bytes to the log. It takes valid UTF-8 alone, and anything else would end the call: at bytes that are none,
  ;; a line ends, and they are left out.
  (func $write (param $level i32) (param $at i32) (param $length i32)
    (local $from i32) (local $end i32) (local $size i32)
    (local.set $from (local.get $at))
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $size (call $character (local.get $at) (local.get $end)))
        (if (local.get $size)
          (then (local.set $at (i32.add (local.get $at) (local.get $size))))
          (else
            (call $line (local.get $level) (local.get $from) (local.get $at))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (local.set $from (local.get $at))))
        (br $next)))
    (call $line (local.get $level) (local.get $from) (local.get $end)))

  (func $line (param $level i32) (param $from i32) (param $end i32)
    (if (i32.lt_u (local.get $from) (local.get $end))
      (then (call $log (local.get $level) (local.get $from) (i32.sub (local.get $end) (local.get $from))))))

  ;; Standard output at the level info (1), standard error at warn (2). The log takes each piece for a line, without
  ;; the line break at its end; pieces that are nothing else are left out.
  (func (export "fd_write") (param $fd i32) (param $pieces i32) (param $count i32) (param $written i32) (result i32)
    (local $at i32) (local $length i32) (local $total i32)
    (if (i32.or (i32.eqz (local.get $fd)) (i32.gt_u (local.get $fd) (i32.const 2)))
      (then (return (i32.const 8)))) ;; badf
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $at (i32.load (local.get $pieces)))
        (local.set $length (i32.load offset=4 (local.get $pieces)))
        (local.set $total (i32.add (local.get $total) (local.get $length)))
        (if (local.get $length)
          (then
            (if (i32.eq
                  (i32.const 10)
                  (i32.load8_u (i32.sub (i32.add (local.get $at) (local.get $length)) (i32.const 1))))
              (then (local.set $length (i32.sub (local.get $length) (i32.const 1)))))))
        (call $write (local.get $fd) (local.get $at) (local.get $length))
        (local.set $pieces (i32.add (local.get $pieces) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $written) (local.get $total))
    (i32.const 0))

  ;; Every subscription is answered as a clock that has run down, and a relative wait moves the time on.
  (func (export "poll_oneoff") (param $in i32) (param $out i32) (param $count i32) (param $events i32) (result i32)
    (i32.store (local.get $events) (local.get $count))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (i64.store (local.get $out) (i64.load (local.get $in)))
        (i64.store offset=8 (local.get $out) (i64.const 0))
        (i64.store offset=16 (local.get $out) (i64.const 0))
        (i64.store offset=24 (local.get $out) (i64.const 0))
        (if (i32.and (i32.eqz (i32.load8_u offset=8 (local.get $in)))
                     (i32.eqz (i32.and (i32.load16_u offset=40 (local.get $in)) (i32.const 1))))
          (then (global.set $time (i64.add (global.get $time) (i64.load offset=24 (local.get $in))))))
        (local.set $in (i32.add (local.get $in) (i32.const 48)))
        (local.set $out (i32.add (local.get $out) (i32.const 32)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.const 0))

  (func (export "sched_yield") (result i32) (i32.const 0))
  (func (export "proc_exit") (param i32) (unreachable))
  (func (export "proc_raise") (param i32) (result i32) (unreachable))

  ;; No descriptor is open but the standard ones, of which nothing is known: badf (8).
  (func (export "fd_advise") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_allocate") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_close") (param i32) (result i32) (i32.const 8))
  (func (export "fd_datasync") (param i32) (result i32) (i32.const 8))
  (func (export "fd_fdstat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_fdstat_set_flags") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_fdstat_set_rights") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_size") (param i32 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_times") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_pread") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_pwrite") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_read") (param i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_readdir") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_renumber") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_sync") (param i32) (result i32) (i32.const 8))
  (func (export "fd_tell") (param i32 i32) (result i32) (i32.const 8))
  (func (export "path_create_directory") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_filestat_get") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_filestat_set_times") (param i32 i32 i32 i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "path_link") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (i32.const 8))
  (func (export "path_readlink") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_remove_directory") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_rename") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_symlink") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_unlink_file") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_accept") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_recv") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_send") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_shutdown") (param i32 i32) (result i32) (i32.const 8)))

//! Tries each interface of WASI 0.2 and returns what it could reach. Prints to standard output and standard error.

use backline_guests::followers;
use backline_sdk::prelude::*;

mod wasi {
    // The functions used here, as declared in WASI 0.2.
    wit_bindgen::generate!({
        inline: "
            package backline:guest;

            world explorer {
                import wasi:cli/environment@0.2.0;
                import wasi:cli/stdout@0.2.0;
                import wasi:cli/stderr@0.2.0;
                import wasi:clocks/wall-clock@0.2.0;
                import wasi:filesystem/preopens@0.2.0;
                import wasi:random/random@0.2.0;
                import wasi:sockets/tcp-create-socket@0.2.0;
            }

            package wasi:io@0.2.0 {
                interface error {
                    resource error;
                }
                interface streams {
                    use error.{error};
                    variant stream-error { last-operation-failed(error), closed }
                    resource output-stream {
                        blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
                    }
                }
            }

            package wasi:cli@0.2.0 {
                interface environment {
                    get-environment: func() -> list<tuple<string, string>>;
                    get-arguments: func() -> list<string>;
                    initial-cwd: func() -> option<string>;
                }
                interface stdout {
                    use wasi:io/streams@0.2.0.{output-stream};
                    get-stdout: func() -> output-stream;
                }
                interface stderr {
                    use wasi:io/streams@0.2.0.{output-stream};
                    get-stderr: func() -> output-stream;
                }
            }

            package wasi:clocks@0.2.0 {
                interface wall-clock {
                    record datetime { seconds: u64, nanoseconds: u32 }
                    now: func() -> datetime;
                }
            }

            package wasi:filesystem@0.2.0 {
                interface types {
                    resource descriptor;
                }
                interface preopens {
                    use types.{descriptor};
                    get-directories: func() -> list<tuple<descriptor, string>>;
                }
            }

            package wasi:random@0.2.0 {
                interface random {
                    get-random-bytes: func(len: u64) -> list<u8>;
                }
            }

            package wasi:sockets@0.2.0 {
                interface network {
                    enum error-code {
                        unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout,
                        concurrency-conflict, not-in-progress, would-block, invalid-state, new-socket-limit,
                        address-not-bindable, address-in-use, remote-unreachable, connection-refused, connection-reset,
                        connection-aborted, datagram-too-large,
                        name-unresolvable, temporary-resolver-failure, permanent-resolver-failure
                    }
                    enum ip-address-family { ipv4, ipv6 }
                }
                interface tcp {
                    resource tcp-socket;
                }
                interface tcp-create-socket {
                    use network.{error-code, ip-address-family};
                    use tcp.{tcp-socket};
                    create-tcp-socket: func(address-family: ip-address-family) -> result<tcp-socket, error-code>;
                }
            }
        ",
        generate_all,
    });
}

use wasi::wasi::{cli, clocks, filesystem, random, sockets};

struct Guest;

impl Connector for Guest {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(_http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        let printed = cli::stdout::get_stdout().blocking_write_and_flush(b"first\nsecond\nunfinished").is_ok()
            && (0..100).all(|_| cli::stderr::get_stderr().blocking_write_and_flush(&[b'x'; 4_000]).is_ok());
        let socket = sockets::tcp_create_socket::create_tcp_socket(sockets::network::IpAddressFamily::Ipv4);
        let found = json!({
            "printed": printed,
            "environment": cli::environment::get_environment().len(),
            "arguments": cli::environment::get_arguments().len(),
            "directory": cli::environment::initial_cwd(),
            "directories": filesystem::preopens::get_directories().len(),
            "socket": socket.map(|_| "made").unwrap_or_else(|error| error.name()),
            "clock_works": clocks::wall_clock::now().seconds > 0,
            "random_bytes": random::random::get_random_bytes(16).len(),
        });
        BatchResult { accounts: accounts.iter().map(|_| Ok(Fetched::new(&found))).collect(), lost_metrics: Vec::new() }
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        let mut snapshot = followers(&document)?;
        let random = random::random::get_random_bytes(32);
        snapshot.notes.push(format!("{} {random:?}", clocks::wall_clock::now().seconds));
        Ok(snapshot)
    }
}

backline_sdk::export_connector!(Guest);

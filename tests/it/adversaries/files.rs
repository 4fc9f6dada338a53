//! Component files that attack the host when they are installed.

use backline::pipeline::Host;

use crate::support::components::guest;
use crate::support::host::HostExt as _;
use crate::support::variants::forged_of;

/// One file that is refused.
pub struct File {
    pub name: &'static str,
    /// What stops it.
    pub bound: &'static str,
    /// Its bytes, made from a component that could be installed.
    bytes: fn(Vec<u8>) -> Vec<u8>,
    /// Part of the refusal.
    says: &'static str,
}

pub static FILES: [File; 9] = [
    File { name: "file-of-nothing", bound: "a file is a component", bytes: |_| Vec::new(), says: "" },
    File { name: "file-of-noise", bound: "a file is a component", bytes: |_| vec![0xf5; 100_000], says: "" },
    File {
        name: "file-core-module",
        bound: "a file is a component",
        bytes: |_| b"\0asm\x01\0\0\0".to_vec(),
        says: "core module",
    },
    File {
        name: "file-cut-off",
        bound: "a file is a component",
        bytes: |mut component| {
            component.truncate(component.len() / 2);
            component
        },
        says: "",
    },
    File {
        name: "file-imports-another-interface",
        bound: "imports of the contract only",
        bytes: |_| guest("imports_unknown"),
        says: "evil:kit/shell",
    },
    File {
        name: "file-with-a-second-manifest",
        bound: "one manifest in a file",
        bytes: |component| with_section(component, b"[connector]\nname = \"other\"\n"),
        says: "",
    },
    File {
        name: "file-with-a-manifest-of-megabytes",
        bound: "256 KiB of a manifest",
        bytes: |component| with_section(component, &vec![b'#'; 1 << 20]),
        says: "",
    },
    File {
        name: "file-of-many-megabytes",
        bound: "`sandbox.component_bytes_max`",
        bytes: |component| {
            let mut large = component;
            while large.len() <= 64 << 20 {
                large = with_other_section(large, &vec![0; 8 << 20]);
            }
            large
        },
        says: "component_bytes_max",
    },
    File {
        name: "file-wildcard-over-a-suffix",
        bound: "wildcards within one owner",
        bytes: |component| {
            let host = "\n[[host]]\norigin = \"https://*.github.io\"\nmethods = [\"GET\"]\nreason = \"all of it\"\n";
            forged_of(&component, "9.9.9", |manifest| manifest.push_str(host))
        },
        says: "https://*.github.io",
    },
];

impl File {
    /// Installs the file.
    ///
    /// # Errors
    /// The refusal, with its causes.
    async fn install(&self, host: &Host) -> Result<(), String> {
        let installed = host.install(&(self.bytes)(guest("well_behaved"))).await;
        installed.map(drop).map_err(|error| backline::pipeline::with_causes(&error))
    }
}

/// Installs each file, and returns what is not as it should be.
pub async fn attack(host: &Host) -> Vec<String> {
    let mut faults = Vec::new();
    for file in &FILES {
        match file.install(host).await {
            Ok(()) => faults.push(format!("{}: it was installed", file.name)),
            Err(said) if said.contains(file.says) => {}
            Err(said) => faults.push(format!("{}: {said}", file.name)),
        }
    }
    faults
}

/// Installs the file of a name; why it was refused otherwise.
#[cfg(feature = "weakened")]
pub async fn install(host: &Host, name: &str) -> Result<(), String> {
    FILES.iter().find(|file| file.name == name).expect("it is in the table").install(host).await
}

fn with_section(component: Vec<u8>, data: &[u8]) -> Vec<u8> {
    with_custom(component, backline_model::manifest::SECTION, data)
}

fn with_other_section(component: Vec<u8>, data: &[u8]) -> Vec<u8> {
    with_custom(component, "padding", data)
}

fn with_custom(mut component: Vec<u8>, name: &str, data: &[u8]) -> Vec<u8> {
    use wasm_encoder::Encode as _;

    component.push(0);
    wasm_encoder::CustomSection { name: name.into(), data: data.into() }.encode(&mut component);
    component
}

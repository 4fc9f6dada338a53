//! Inspects a component: what it is and what it may access, read from its bytes.

use serde::Serialize;
use wasmparser::{Encoding, Parser, Payload};

use backline_model::Digest;
use backline_model::manifest::{MANIFEST_BYTES_MAX, Manifest, ManifestError, SECTION};
use backline_model::text::misleads;

/// Most imports, and most exports. A component of an interpreter has about thirty, and the operator has to read them.
const NAMES_MAX: usize = 1_000;

/// Why a file is not a connector. None of its code was run.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Not WebAssembly, or damaged.
    #[error("the file is not a WebAssembly component: {0}; it may be truncated or of another format")]
    NotWasm(String),
    /// A core module.
    #[error("the file is a core module, not a component; make it one with `backline plugins pack`")]
    CoreModule,
    /// Names that can't be shown safely.
    #[error("the component's imports or exports can't be shown to an operator: {0}; it is not a connector")]
    Names(&'static str),
    /// No manifest section.
    #[error("the component carries no manifest; add one with `backline plugins pack --manifest connector.toml`")]
    NoManifest,
    /// More than one manifest section, so that it is not clear which one counts.
    #[error("the component carries {0} manifests, exactly one is allowed")]
    SeveralManifests(usize),
    /// The section is not UTF-8 text, or is too long.
    #[error("the component's manifest is not UTF-8 text of at most {MANIFEST_BYTES_MAX} bytes")]
    UnreadableManifest,
    /// The manifest is not valid.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// It does not export the interface that the host calls.
    #[error("the component does not export backline:connector/source; it is not a connector")]
    NotAConnector,
    /// It exports the interface in more than one version, so that it is not clear which one counts.
    #[error("the component exports backline:connector/source in the versions {0}; exactly one is allowed")]
    SeveralVersions(String),
    /// The contract version is not one that its own manifest declares.
    #[error("the component is built against backline:connector@{actual}, but its manifest says api = \"{declared}\"")]
    ApiMismatch {
        /// Contract version that it exports.
        actual: String,
        /// Versions that the manifest declares.
        declared: String,
    },
}

/// Everything that is known about a component without running it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// SHA-256 digest of the file.
    pub digest: Digest,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// Contract version that it exports, such as `1.0.0`.
    pub wit_version: String,
    /// The embedded manifest.
    pub manifest: Manifest,
    /// Names of its imports, which are its whole authority.
    pub imports: Vec<String>,
    /// Names of its exports.
    pub exports: Vec<String>,
}

/// Inspects a component.
///
/// # Errors
/// [`InspectError`] says what is wrong and how to fix it.
pub fn inspect(component: &[u8]) -> Result<Inspection, InspectError> {
    let (mut imports, mut exports, mut manifests) = (Vec::new(), Vec::new(), Vec::new());
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(|error| InspectError::NotWasm(error.message().to_owned()))?;
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => return Err(InspectError::CoreModule),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 0 && section.name() == SECTION => {
                manifests.push(section.data())
            }
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import.map_err(|error| InspectError::NotWasm(error.message().to_owned()))?;
                    note(&mut imports, import.name.name)?;
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export.map_err(|error| InspectError::NotWasm(error.message().to_owned()))?;
                    note(&mut exports, export.name.name)?;
                }
            }
            _ => {}
        }
    }
    let manifest = match manifests.as_slice() {
        [] => return Err(InspectError::NoManifest),
        [one] if one.len() <= MANIFEST_BYTES_MAX => {
            std::str::from_utf8(one).map_err(|_| InspectError::UnreadableManifest)?
        }
        [_] => return Err(InspectError::UnreadableManifest),
        several => return Err(InspectError::SeveralManifests(several.len())),
    };
    let manifest = Manifest::parse(manifest)?;
    let wit_version = version_in(&exports)?;
    let speaks_it = semver::Version::parse(&wit_version).is_ok_and(|version| manifest.connector.api.matches(&version));
    if !speaks_it {
        return Err(InspectError::ApiMismatch { actual: wit_version, declared: manifest.connector.api.to_string() });
    }
    imports.sort();
    exports.sort();
    Ok(Inspection {
        digest: Digest::of(component),
        size_bytes: component.len() as u64,
        wit_version,
        manifest,
        imports,
        exports,
    })
}

/// The version of the contract that a component with these exports answers by: the host must not have to choose.
fn version_in(exports: &[String]) -> Result<String, InspectError> {
    let versions = exports.iter().filter_map(|export| export.strip_prefix("backline:connector/source@"));
    match versions.collect::<Vec<_>>().as_slice() {
        [] => Err(InspectError::NotAConnector),
        [one] => Ok((*one).to_owned()),
        several => Err(InspectError::SeveralVersions(several.join(", "))),
    }
}

/// Whether an import belongs to a package of WASI 0.2 that the host links, with nothing behind it.
#[must_use]
pub fn is_wasi(import: &str) -> bool {
    const PACKAGES: [&str; 6] =
        ["wasi:io/", "wasi:clocks/", "wasi:random/", "wasi:cli/", "wasi:filesystem/", "wasi:sockets/"];
    PACKAGES.iter().any(|package| import.starts_with(package)) && import.contains("@0.2.")
}

/// A component's imports as an operator reads them: those of WASI, of which an interpreter has dozens, in one line that
/// says what they are worth.
#[must_use]
pub fn imports_shown(imports: &[String]) -> Vec<String> {
    let wasi = imports.iter().filter(|import| is_wasi(import)).count();
    let mut shown: Vec<String> = imports.iter().filter(|import| !is_wasi(import)).cloned().collect();
    if wasi > 0 {
        let interfaces = if wasi == 1 { "interface" } else { "interfaces" };
        shown.push(format!(
            "WASI 0.2 ({wasi} {interfaces}) with nothing behind it: no files, environment, arguments, sockets or \
             names; only clocks, random numbers and the log"
        ));
    }
    shown
}

/// Adds a name that can be shown safely. (The parser does not check names; the compiler does, but runs later.)
fn note(names: &mut Vec<String>, name: &str) -> Result<(), InspectError> {
    if name.chars().any(misleads) {
        return Err(InspectError::Names("a name has control or invisible characters"));
    }
    if names.len() == NAMES_MAX {
        return Err(InspectError::Names("there are more than a thousand"));
    }
    names.push(name.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn importing<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
        let mut imports = wasm_encoder::ComponentImportSection::new();
        for name in names {
            imports.import(name, wasm_encoder::ComponentTypeRef::Instance(0));
        }
        let mut component = wasm_encoder::Component::new();
        component.section(&imports);
        component.finish()
    }

    #[test]
    fn wasi_is_shown_in_one_line_and_hides_nothing_else() {
        let imports = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let named = imports(&[
            "backline:connector/http@1.0.0",
            "evil:wasi/cli@0.2.0",
            "wasi:cli/environment@0.2.3",
            "wasi:http/outgoing-handler@0.2.3",
            "wasi:sockets/tcp@0.2.3",
            "wasi:sockets/tcp@0.3.0",
        ]);
        let shown = imports_shown(&named);
        assert_eq!(shown[..2], named[..2]);
        assert_eq!((&shown[2], &shown[3]), (&named[3], &named[5]), "what the host does not link is shown by name");
        assert!(shown[4].starts_with("WASI 0.2 (2 interfaces) with nothing behind it: no files"), "{shown:?}");
        assert_eq!((shown.len(), imports_shown(&named[..2]).len()), (5, 2));
    }

    #[test]
    fn a_component_answers_by_one_version() {
        let version = |exports: &[&str]| {
            version_in(&exports.iter().map(|export| (*export).to_owned()).collect::<Vec<_>>())
                .map_err(|error| error.to_string())
        };
        let (first, next) = ("backline:connector/source@1.0.0", "backline:connector/source@1.1.0");
        assert_eq!(version(&["memory", next]), Ok("1.1.0".to_owned()));
        for exports in [[first, next], [next, first]] {
            assert!(version(&exports).is_err_and(|why| why.contains("in the versions 1.")), "whichever comes first");
        }
        assert!(version(&["backline:connector/log@1.0.0"]).is_err());
    }

    #[test]
    fn imports_that_would_disturb_a_terminal_or_fill_memory_are_refused() {
        let refused = |bytes: &[u8]| inspect(bytes).expect_err("refused").to_string();
        let error = refused(&importing(["wasi:cli/run\u{1b}[2J"]));
        assert!(error.contains("control or invisible") && !error.contains('\u{1b}'), "{error}");
        assert!(refused(&importing(std::iter::repeat_n("a", NAMES_MAX + 1))).contains("more than a thousand"));
        assert!(refused(&importing(std::iter::repeat_n("a", NAMES_MAX))).contains("no manifest"));
    }
}

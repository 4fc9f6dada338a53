//! The languages that there are templates for: what each needs to be installed, and how a project of it is built.

use std::fmt;
use std::str::FromStr;

/// A language that there is a template for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Rust, with the SDK.
    Rust,
    /// Python, with componentize-py.
    Python,
    /// Go, with its standard compiler.
    Go,
    /// JavaScript, with componentize-js.
    JavaScript,
    /// C, with Zig's compiler.
    C,
}

/// A command that is run in a project's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectCommand {
    /// The program: a name to look up, or a path inside the project's folder.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Environment variables to set.
    pub variables: &'static [(&'static str, &'static str)],
}

impl ProjectCommand {
    fn new(program: &str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { program: program.to_owned(), arguments, variables: &[] }
    }
}

impl fmt::Display for ProjectCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.variables {
            write!(f, "{name}={value} ")?;
        }
        f.write_str(&self.program)?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {argument}"))
    }
}

/// Something that a project is built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// What it is called.
    pub name: &'static str,
    /// Succeeds where it is installed.
    pub probe: ProjectCommand,
    /// A word that the probe prints where it is installed.
    pub printed: Option<&'static str>,
    /// Whether it is installed in the project's folder, so that a new project lacks it.
    pub in_project: bool,
    /// How to install it.
    pub remedy: &'static str,
}

/// How a project becomes what `pack` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The command.
    pub command: ProjectCommand,
    /// The core module or component that it writes, as a path inside the project's folder.
    pub output: String,
}

impl Language {
    /// All languages.
    pub const ALL: [Self; 5] = [Self::Rust, Self::Python, Self::Go, Self::JavaScript, Self::C];

    /// The name that `--lang` takes, and of the template's folder.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Go => "go",
            Self::JavaScript => "javascript",
            Self::C => "c",
        }
    }

    /// The folder of a project that helpers of the language are copied to; none for Rust, which has the SDK.
    #[must_use]
    pub(super) fn helpers(self) -> Option<&'static str> {
        match self {
            Self::Rust => None,
            // Neither imports a package of its own project from `vendor`.
            Self::Go | Self::Python => Some("backline"),
            Self::JavaScript | Self::C => Some("vendor/backline"),
        }
    }

    /// What a project is built with.
    #[must_use]
    pub fn tools(self) -> Vec<Tool> {
        let tool = |name, probe: &[&str], remedy| Tool {
            name,
            probe: ProjectCommand::new(probe[0], &probe[1..]),
            printed: None,
            in_project: false,
            remedy,
        };
        let in_project = |tool: Tool| Tool { in_project: true, ..tool };
        match self {
            Self::Rust => vec![
                tool("cargo", &["cargo", "--version"], "install rustup from https://rustup.rs"),
                Tool {
                    printed: Some("wasm32-unknown-unknown"),
                    ..tool(
                        "the target wasm32-unknown-unknown",
                        &["rustup", "target", "list", "--installed"],
                        "run `rustup target add wasm32-unknown-unknown`",
                    )
                },
            ],
            Self::Python => vec![
                tool(
                    "Python 3.12 or later",
                    &["python3", "-c", "import sys; sys.exit(sys.version_info < (3, 12))"],
                    "install it from https://www.python.org/downloads",
                ),
                in_project(tool(
                    "componentize-py",
                    &["build/venv/bin/componentize-py", "--version"],
                    "run `python3 -m venv build/venv` and `build/venv/bin/pip install -r requirements.txt`",
                )),
            ],
            Self::Go => {
                vec![tool("Go 1.24 or later", &["go", "version"], "install it from https://go.dev/dl")]
            }
            Self::JavaScript => vec![
                tool(
                    "Node.js 20 or later",
                    &["node", "-e", "process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)"],
                    "install it from https://nodejs.org",
                ),
                tool("npm", &["npm", "--version"], "install it with Node.js from https://nodejs.org"),
                in_project(tool(
                    "componentize-js",
                    &["node", "--input-type=module", "-e", "import '@bytecodealliance/componentize-js'"],
                    "run `npm install`",
                )),
            ],
            Self::C => vec![
                tool("make", &["make", "--version"], "install it (Debian, Ubuntu: `apt-get install make`)"),
                tool("Python 3", &["python3", "--version"], "install it from https://www.python.org/downloads"),
                in_project(tool(
                    "Zig's C compiler",
                    &["build/venv/bin/python", "-m", "ziglang", "version"],
                    "run `python3 -m venv build/venv` and `build/venv/bin/pip install -r requirements.txt`",
                )),
            ],
        }
    }

    /// How a project of this name is built.
    #[must_use]
    pub fn build(self, name: &str) -> Build {
        let core = || "build/core.wasm".to_owned();
        match self {
            Self::Rust => Build {
                command: ProjectCommand::new(
                    "cargo",
                    &["build", "--target", "wasm32-unknown-unknown", "--profile", "plugin"],
                ),
                output: format!("target/wasm32-unknown-unknown/plugin/{}.wasm", name.replace('-', "_")),
            },
            Self::Python => Build {
                command: ProjectCommand::new(
                    "build/venv/bin/componentize-py",
                    &["-d", "vendor/wit/connector/1.0.0", "-w", "connector", "componentize", "app", "-o", &core()],
                ),
                output: core(),
            },
            Self::Go => Build {
                command: ProjectCommand {
                    variables: &[("GOOS", "wasip1"), ("GOARCH", "wasm")],
                    ..ProjectCommand::new("go", &["build", "-buildmode=c-shared", "-o", &core(), "."])
                },
                output: core(),
            },
            Self::JavaScript => Build { command: ProjectCommand::new("npm", &["run", "build"]), output: core() },
            Self::C => Build { command: ProjectCommand::new("make", &[]), output: core() },
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|language| language.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|language| language.as_str()).collect();
            format!("there is a template for each of {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project;

    #[test]
    fn a_language_is_known_by_its_name() {
        for language in Language::ALL {
            assert_eq!(language.as_str().parse(), Ok(language));
        }
        let error = "fortran".parse::<Language>().expect_err("refused");
        assert!(error.contains("rust, python, go, javascript, c"), "{error}");
    }

    #[test]
    fn a_readme_names_the_command_that_builds_and_every_way_to_install_a_tool() {
        for language in Language::ALL {
            let files = project("moon-beam", language).expect("a project");
            let readme = &files.iter().find(|file| file.path == "README.md").expect("a README").text;
            let build = language.build("moon-beam");
            assert!(readme.contains(&build.command.to_string()), "{language}: {}", build.command);
            assert!(readme.contains(&format!("pack {}", build.output)), "{language}: {}", build.output);
            for tool in language.tools() {
                assert!(tool.in_project || !tool.remedy.is_empty(), "{language}: {}", tool.name);
                for command in tool.remedy.split('`').skip(1).step_by(2).filter(|_| tool.in_project) {
                    assert!(readme.contains(command), "{language}: {command}");
                }
            }
        }
    }
}

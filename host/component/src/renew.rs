//! Moves a project of a connector to the current templates: replaces what no author edits, and goes through numbered
//! steps for what may have been edited. A step is done where the file still has the text that it changes; otherwise the
//! author is told what to write. See `docs/decisions/045-projects-are-updated-in-steps.md`.

use std::collections::BTreeMap;

use serde::Serialize;
use toml::Table;

use super::language::Language;
use super::scaffold::{ProjectFile, STAMP, Stamp, TEMPLATE, is_vendored, named, vendored};

/// A change of the templates to a file that may have been edited. Names in it are the template's.
struct FileChange {
    /// Number of the templates that have it.
    template: u32,
    /// What it is for.
    title: &'static str,
    languages: &'static [Language],
    file: &'static str,
    /// The text that it replaces; empty if the file is new.
    old: &'static str,
    new: &'static str,
}

/// All changes, by the templates' number. What an author's own tests are made of is left: it goes on as it is.
static CHANGES: [FileChange; 10] = [
    FileChange {
        template: 2,
        title: "CI checks conformance instead of replaying the recordings alone",
        languages: &[Language::Rust, Language::Python],
        file: ".github/workflows/ci.yml",
        old: concat!(
            "      # - run: for answers in answers/*; do ",
            "backline plugins try my-connector.wasm --replay \"$answers\"; done\n"
        ),
        new: concat!(
            "      # - run: ",
            "backline plugins conformance my-connector.wasm --answers answers --junit conformance.xml\n"
        ),
    },
    FileChange {
        template: 2,
        title: "the README names conformance and dev",
        languages: &[Language::Rust, Language::Python],
        file: "README.md",
        old: concat!(
            "backline plugins try my-connector.wasm --replay answers/a1        # in the host's sandbox, offline\n",
            "```\n"
        ),
        new: concat!(
            "backline plugins try my-connector.wasm --replay answers/a1        # in the host's sandbox, offline\n",
            "backline plugins conformance my-connector.wasm --answers answers\n",
            "```\n\n",
            "`backline plugins dev` does all of this but the tests whenever a file changes.\n"
        ),
    },
    FileChange {
        template: 2,
        title: "the README names update",
        languages: &[Language::Rust, Language::Python],
        file: "README.md",
        old: "backline plugins try my-connector.wasm --account ID --secret app=key.txt --record answers/ID\n",
        new: concat!(
            "backline plugins update                                           # with a newer `backline`\n",
            "backline plugins try my-connector.wasm --account ID --secret app=key.txt --record answers/ID\n"
        ),
    },
    FileChange {
        template: 3,
        title: "CI checks conformance where backline is installed, and says so where it is not",
        languages: &[Language::Rust],
        file: ".github/workflows/ci.yml",
        old: concat!(
            "      # With the `backline` command installed, also:\n",
            "      # - run: backline plugins pack target/wasm32-unknown-unknown/plugin/my_connector.wasm ",
            "--output my-connector.wasm\n",
            "      # - run: ",
            "backline plugins conformance my-connector.wasm --answers answers --junit conformance.xml\n"
        ),
        new: concat!(
            "      # The host's own checks need the `backline` command: install it in a step above.\n",
            "      - run: |\n",
            "          if ! command -v backline; then\n",
            "            echo \"::warning::conformance was not checked, since the backline command is not installed ",
            "here\"\n",
            "            exit 0\n",
            "          fi\n",
            "          backline plugins pack target/wasm32-unknown-unknown/plugin/my_connector.wasm ",
            "--output my-connector.wasm\n",
            "          backline plugins conformance my-connector.wasm --answers answers --junit conformance.xml\n"
        ),
    },
    FileChange {
        template: 3,
        title: "the README says what cargo test runs",
        languages: &[Language::Rust],
        file: "README.md",
        old: concat!(
            "cargo test                                                        ",
            "# native and offline, without a host\n"
        ),
        new: concat!(
            "cargo test                                                        ",
            "# offline; `tests/` needs `backline` on the PATH\n"
        ),
    },
    FileChange {
        template: 3,
        title: "cargo test runs the checks of the host where backline is on the PATH",
        languages: &[Language::Rust],
        file: "tests/conformance.rs",
        old: "",
        new: include_str!("../../../sdk/templates/rust/tests/conformance.rs"),
    },
    FileChange {
        template: 3,
        title: "the README names the package of helpers, which is beside app.py now",
        languages: &[Language::Python],
        file: "README.md",
        old: "what the platform answered for three artists.\n",
        new: concat!(
            "what the platform answered for three artists. The package `backline` has helpers: requests, answers by ",
            "account, reading\nand metrics; `backline.offline` runs tests from recordings.\n"
        ),
    },
    FileChange {
        template: 4,
        title: "the README names the helpers that run tests from recordings",
        languages: &[Language::Go],
        file: "README.md",
        old: "JSON without rounding, dates, encoding. It has no other dependency, so nothing is downloaded.\n",
        new: concat!(
            "JSON without rounding, dates, encoding; `ReadRecording`, `Replay` and `Collect` run tests from ",
            "recordings. It has no\nother dependency, so nothing is downloaded.\n"
        ),
    },
    FileChange {
        template: 4,
        title: "the README names the helpers that run tests from recordings",
        languages: &[Language::C],
        file: "README.md",
        old: "dates, encoding.\n",
        new: "dates, encoding; `offline.h` runs tests from recordings.\n",
    },
    FileChange {
        template: 4,
        title: "tests are linked with the helpers that run them from recordings",
        languages: &[Language::C],
        file: "Makefile",
        old: concat!(
            "test: $(SOURCES) test_connector.c\n",
            "\tmkdir -p build\n",
            "\t$(ZIG) cc -g $(FLAGS) $(SOURCES) test_connector.c -o build/tests\n"
        ),
        new: concat!(
            "test: $(SOURCES) vendor/backline/offline.c vendor/backline/offline.h test_connector.c\n",
            "\tmkdir -p build\n",
            "\t$(ZIG) cc -g $(FLAGS) $(SOURCES) vendor/backline/offline.c test_connector.c -o build/tests\n"
        ),
    },
];

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// The file was changed.
    Done,
    /// The file has the new text already.
    AlreadyDone,
    /// The file was edited there, or is gone: the author changes it.
    ByHand,
}

/// A step, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpdateStep {
    /// Number of the templates that it leads to.
    pub template: u32,
    /// What it is for.
    pub title: &'static str,
    /// The file, as a path inside the project's folder.
    pub file: &'static str,
    /// What became of it.
    pub outcome: StepOutcome,
    /// The text that the file has after it.
    pub text: String,
}

/// What to write and to remove, so that a project is one of the current templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VendorUpdate {
    /// What the project was made of.
    pub from: Stamp,
    /// Files to write.
    pub write: Vec<ProjectFile>,
    /// Copied files that the templates no longer have.
    pub remove: Vec<String>,
    /// The steps, in order.
    pub steps: Vec<UpdateStep>,
}

/// Why a project is not updated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenewError {
    /// Nothing says what it was made of.
    #[error(
        "it is not a project of `backline plugins new`: neither {STAMP} nor vendor/README.md says what it was made of; \
         name its folder"
    )]
    NotAProject,
    /// The stamp names a language that has no template.
    #[error("{STAMP} is wrong: {0}")]
    Language(String),
    /// A newer version made it.
    #[error(
        "the project is of the templates {0}, and this version of backline has the templates {TEMPLATE}; use a newer \
         one"
    )]
    Newer(u32),
}

/// What a project was made of; `None` if nothing says so. `files` has texts by their paths inside the folder.
#[must_use]
pub fn stamp_of(files: &BTreeMap<String, String>) -> Option<Stamp> {
    if let Some(stamp) = files.get(STAMP) {
        return serde_json::from_str(stamp).ok();
    }
    // The first templates had no stamp, and this sentence.
    let (_, rest) = files.get("vendor/README.md")?.split_once("`backline plugins new --lang ")?;
    let (language, _) = rest.split_once('`')?;
    let manifest: Table = files.get("connector.toml")?.parse().ok()?;
    let name = manifest.get("connector")?.get("name")?.as_str()?.to_owned();
    Some(Stamp { template: 1, language: language.to_owned(), name })
}

/// What to do with a project, whose text files are given by their paths inside its folder.
///
/// # Errors
/// [`RenewError`] if it is no project of these or earlier templates.
pub fn renew(files: &BTreeMap<String, String>) -> Result<VendorUpdate, RenewError> {
    let from = stamp_of(files).ok_or(RenewError::NotAProject)?;
    let language: Language = from.language.parse().map_err(RenewError::Language)?;
    if from.template > TEMPLATE {
        return Err(RenewError::Newer(from.template));
    }
    let copies = vendored(&from.name, language);
    let is_gone = |path: &&String| is_vendored(path, language) && !copies.iter().any(|copy| copy.path == **path);
    let remove = files.keys().filter(is_gone).cloned().collect();
    let mut write: Vec<ProjectFile> =
        copies.iter().filter(|copy| files.get(&copy.path) != Some(&copy.text)).cloned().collect();

    let mut steps = Vec::new();
    let mut edited: BTreeMap<&str, String> = BTreeMap::new();
    let changes = CHANGES.iter().filter(|change| change.template > from.template);
    for change in changes.filter(|change| change.languages.contains(&language)) {
        let (old, new) = (named("", change.old, &from.name), named("", change.new, &from.name));
        let now = edited.get(change.file).or_else(|| files.get(change.file));
        let outcome = match now {
            None if old.is_empty() => {
                edited.insert(change.file, new.clone());
                StepOutcome::Done
            }
            Some(text) if text.contains(&new) => StepOutcome::AlreadyDone,
            Some(text) if text.matches(&old).count() == 1 => {
                let text = text.replacen(&old, &new, 1);
                edited.insert(change.file, text);
                StepOutcome::Done
            }
            _ => StepOutcome::ByHand,
        };
        let FileChange { template, title, file, .. } = *change;
        steps.push(UpdateStep { template, title, file, outcome, text: new });
    }
    write.extend(edited.into_iter().map(|(path, text)| ProjectFile { path: path.to_owned(), text }));
    Ok(VendorUpdate { from, write, remove, steps })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project;

    /// What the first templates had in the files that later ones changed.
    const FIRST: [(&str, &str, &str); 2] = [
        (
            "rust",
            include_str!("../fixtures/template-1/rust/README.md"),
            include_str!("../fixtures/template-1/rust/ci.yml"),
        ),
        (
            "python",
            include_str!("../fixtures/template-1/python/README.md"),
            include_str!("../fixtures/template-1/python/ci.yml"),
        ),
    ];

    fn current(language: &str) -> BTreeMap<String, String> {
        let language = language.parse().expect("a language");
        project("moon", language).expect("a project").into_iter().map(|file| (file.path, file.text)).collect()
    }

    /// A project as the first templates made it.
    fn first(language: &str) -> BTreeMap<String, String> {
        let (_, readme, ci) = FIRST.into_iter().find(|(name, ..)| *name == language).expect("a fixture");
        let mut files = current(language);
        files.remove(STAMP);
        files.insert("README.md".to_owned(), named("", readme, "moon"));
        files.insert(".github/workflows/ci.yml".to_owned(), named("", ci, "moon"));
        files.remove("tests/conformance.rs");
        let copied = format!("Copied by `backline plugins new --lang {language}` of version 0.1.0. Don't edit it.\n");
        files.insert("vendor/README.md".to_owned(), copied);
        files.insert("vendor/wit/old.wit".to_owned(), "no longer there".to_owned());
        files
    }

    fn updated(mut files: BTreeMap<String, String>) -> (BTreeMap<String, String>, VendorUpdate) {
        let renewal = renew(&files).expect("a project");
        files.extend(renewal.write.iter().map(|file| (file.path.clone(), file.text.clone())));
        files.retain(|path, _| !renewal.remove.contains(path));
        (files, renewal)
    }

    #[test]
    fn an_untouched_project_of_the_first_templates_becomes_a_new_one() {
        for (language, ..) in FIRST {
            let (files, renewal) = updated(first(language));
            assert_eq!(files, current(language), "{language}");
            assert_eq!(
                (renewal.from.template, renewal.remove),
                (1, vec!["vendor/wit/old.wit".to_owned()]),
                "{language}"
            );
            let steps = CHANGES.iter().filter(|change| change.languages.iter().any(|of| of.as_str() == language));
            assert_eq!(renewal.steps.len(), steps.count(), "{language}");
            assert!(renewal.steps.iter().all(|step| step.outcome == StepOutcome::Done), "{:?}", renewal.steps);
        }
    }

    /// A project as the templates before the current ones made it, but for the tests.
    fn last(language: Language) -> BTreeMap<String, String> {
        let mut files = current(language.as_str());
        let newest = CHANGES.iter().rev().filter(|change| change.template == TEMPLATE);
        for change in newest.filter(|change| change.languages.contains(&language)) {
            let text = files.remove(change.file).unwrap_or_else(|| panic!("{language}: {}", change.file));
            let (old, new) = (named("", change.old, "moon"), named("", change.new, "moon"));
            assert_eq!(text.matches(&new).count(), 1, "{language}: {}", change.title);
            if !old.is_empty() {
                files.insert(change.file.to_owned(), text.replacen(&new, &old, 1));
            }
        }
        let stamp = Stamp { template: TEMPLATE - 1, language: language.to_string(), name: "moon".to_owned() };
        files.insert(STAMP.to_owned(), serde_json::to_string(&stamp).expect("JSON"));
        files
    }

    #[test]
    fn an_untouched_project_of_the_last_templates_becomes_a_new_one() {
        for language in Language::ALL {
            let (files, renewal) = updated(last(language));
            assert_eq!(files, current(language.as_str()), "{language}");
            assert_eq!((renewal.from.template, renewal.remove.len()), (TEMPLATE - 1, 0), "{language}");
            assert!(renewal.steps.iter().all(|step| step.outcome == StepOutcome::Done), "{:?}", renewal.steps);
        }
        assert_eq!(renew(&last(Language::C)).expect("a project").steps.len(), 2);
    }

    #[test]
    fn what_an_author_vendored_is_kept() {
        for (language, path) in [("rust", "vendor/serde/src/lib.rs"), ("go", "vendor/modules.txt")] {
            let mut files = current(language);
            files.insert(path.to_owned(), "of `cargo vendor` or `go mod vendor`".to_owned());
            assert_eq!(renew(&files).expect("a project").remove, Vec::<String>::new(), "{language}");
        }
    }

    #[test]
    fn an_updated_project_needs_nothing() {
        for (language, ..) in FIRST {
            let (files, _) = updated(first(language));
            let renewal = renew(&files).expect("a project");
            assert_eq!((renewal.write, renewal.remove, renewal.steps), (vec![], vec![], vec![]), "{language}");
        }
    }

    #[test]
    fn what_the_author_wrote_stays_and_the_step_is_named() {
        let mut files = first("rust");
        let code = "// mine\n".to_owned();
        files.insert("src/lib.rs".to_owned(), code.clone());
        files.insert("README.md".to_owned(), "# Mine\n".to_owned());
        files.insert("vendor/wit/connector/1.0.0/connector.wit".to_owned(), "edited".to_owned());
        let (after, renewal) = updated(files);
        assert_eq!((&after["src/lib.rs"], after["README.md"].as_str()), (&code, "# Mine\n"));
        let outcomes: Vec<_> = renewal.steps.iter().map(|step| (step.file, step.outcome)).collect();
        let (ci, by_hand) = ((".github/workflows/ci.yml", StepOutcome::Done), ("README.md", StepOutcome::ByHand));
        let new = ("tests/conformance.rs", StepOutcome::Done);
        assert_eq!(outcomes, [ci, by_hand, by_hand, ci, by_hand, new]);
        assert!(renewal.steps[1].text.contains("plugins conformance moon.wasm"), "{:?}", renewal.steps[1]);
        assert_eq!(
            after["vendor/wit/connector/1.0.0/connector.wit"],
            current("rust")["vendor/wit/connector/1.0.0/connector.wit"]
        );
    }

    #[test]
    fn other_folders_and_newer_projects_are_refused() {
        assert_eq!(renew(&BTreeMap::new()), Err(RenewError::NotAProject));
        let mut files = current("go");
        let stamp = |template, language: &str| {
            let stamp = Stamp { template, language: language.to_owned(), name: "moon".to_owned() };
            serde_json::to_string(&stamp).expect("JSON")
        };
        files.insert(STAMP.to_owned(), stamp(TEMPLATE + 1, "go"));
        assert_eq!(renew(&files), Err(RenewError::Newer(TEMPLATE + 1)));
        files.insert(STAMP.to_owned(), stamp(TEMPLATE, "cobol"));
        assert!(matches!(renew(&files), Err(RenewError::Language(_))));
        files.insert(STAMP.to_owned(), "{".to_owned());
        assert_eq!(renew(&files), Err(RenewError::NotAProject));
    }

    #[test]
    fn every_change_leads_to_what_the_template_has() {
        for (index, change) in CHANGES.iter().enumerate() {
            assert!(change.template <= TEMPLATE, "{}", change.title);
            for language in change.languages {
                let files = current(language.as_str());
                // A later step may change the text of an earlier one.
                let is_of_later = |later: &FileChange| {
                    later.file == change.file && later.languages.contains(language) && later.old.contains(change.new)
                };
                let is_there = files[change.file].contains(&named("", change.new, "moon"));
                assert!(is_there || CHANGES[index + 1..].iter().any(is_of_later), "{language}: {}", change.title);
            }
        }
        assert!(CHANGES.iter().any(|change| change.template == TEMPLATE), "no step leads to the current templates");
    }
}

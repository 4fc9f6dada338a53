//! `plugins new`: a project with its own sources, which is never made over another.

use super::Place;

#[test]
fn a_project_is_made_once_and_packs_its_manifest() {
    let place = Place::empty();
    let folder = tempfile::tempdir().expect("a folder");
    let into = folder.path().to_string_lossy().into_owned();
    for language in ["rust", "python"] {
        let name = format!("moon-{language}");
        let printed = place.done(&["plugins", "new", &name, "--lang", language, "--folder", &into]);
        assert!(printed.trim_end().ends_with("README.md"), "{printed}");
        let project = folder.path().join(&name);
        for path in ["connector.toml", "answers/a1/recording.json", "vendor/wit/connector/1.0.0/connector.wit"] {
            assert!(project.join(path).is_file(), "{path}");
        }
        std::fs::write(project.join("README.md"), "mine").expect("written");
        let twice = place.refused(&["plugins", "new", &name, "--lang", language, "--folder", &into]);
        assert!(twice.contains("choose another name"), "{twice}");
        assert_eq!(std::fs::read_to_string(project.join("README.md")).expect("text"), "mine");
    }
    let unknown = place.refused(&["plugins", "new", "moon", "--lang", "cobol"]);
    assert!(unknown.contains("there is a template for rust and python"), "{unknown}");
    assert!(place.refused(&["plugins", "new", "../moon"]).contains("can't be a connector's name"));
}

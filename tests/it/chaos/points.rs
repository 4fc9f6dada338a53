//! The scene in which a host dies at each named point, and the document that lists the points and the remedies.

use backline_model::kill_points::Point;
use backline_model::remedies::Remedy;

use crate::support::components::workspace;

/// What is under way when a host dies at a point; `killed` plays it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    Collection,
    Delivery,
    Archive,
    Erasure,
    Activation,
}

/// The scene of a point: its name begins with the work that it is a point of.
pub fn scene_of(point: Point) -> Option<Scene> {
    let work = point.name().split('-').next()?;
    Some(match work {
        "plan" | "batch" | "run" | "refresh" => Scene::Collection,
        "deliveries" | "delivery" => Scene::Delivery,
        "archive" => Scene::Archive,
        "erase" => Scene::Erasure,
        "activation" => Scene::Activation,
        _ => return None,
    })
}

#[test]
fn every_point_has_its_scene_and_its_row_in_the_documents() {
    let mut rows = String::new();
    for point in Point::ALL {
        assert!(scene_of(*point).is_some(), "no scene goes through {}", point.name());
        rows.push_str(&format!("| `{}` | {} |\n", point.name(), point.reached()));
    }
    let document = std::fs::read_to_string(workspace().join("docs/chaos.md")).expect("readable");
    assert!(document.contains(&rows), "docs/chaos.md should hold these rows:\n{rows}");
}

#[test]
fn every_remedy_has_its_rows_in_the_documents() {
    let document = std::fs::read_to_string(workspace().join("docs/chaos.md")).expect("readable");
    let (mut does, mut without, mut scenes) = (String::new(), String::new(), String::new());
    for remedy in Remedy::ALL {
        does.push_str(&format!("| `{}` | {} |\n", remedy.name(), remedy.does()));
        without.push_str(&format!("| `{}` | {} |\n", remedy.name(), remedy.without()));
        let has_scene = document.contains(&format!("\n- `{}`: ", remedy.name()));
        scenes.push_str(if has_scene { "" } else { remedy.name() });
    }
    for rows in [does, without] {
        assert!(document.contains(&rows), "docs/chaos.md should hold these rows:\n{rows}");
    }
    assert_eq!(scenes, "", "docs/chaos.md should say which scene shows it");
}

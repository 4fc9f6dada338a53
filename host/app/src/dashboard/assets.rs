//! Files that pages need: compiled in, each under a path that its content decides, so that browsers may keep it.

use std::sync::LazyLock;

use backline_model::Digest;

/// A file.
pub(crate) struct Asset {
    /// Where it is served.
    pub(crate) path: String,
    pub(crate) content_type: &'static str,
    pub(crate) body: &'static [u8],
}

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

fn asset(name: &str, content_type: &'static str, body: &'static [u8]) -> Asset {
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    let digest = Digest::of(body).short();
    Asset { path: format!("/assets/{stem}.{digest}.{ending}"), content_type, body }
}

/// All files.
pub(super) struct Assets {
    pub(super) style: Asset,
    pub(super) script: Asset,
    pub(super) icon: Asset,
    /// htmx 2.0.11, Zero-Clause BSD; its licence stands beside it.
    pub(super) htmx: Asset,
    /// uPlot 1.6.32, MIT; its licence stands beside it.
    pub(super) uplot: Asset,
    pub(super) uplot_style: Asset,
}

/// The files, with their digests.
pub(super) static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    style: asset("app.css", CSS, include_bytes!("assets/app.css")),
    script: asset("app.js", JAVASCRIPT, include_bytes!("assets/app.js")),
    icon: asset("icon.svg", "image/svg+xml", include_bytes!("assets/icon.svg")),
    htmx: asset("htmx.js", JAVASCRIPT, include_bytes!("assets/htmx.min.js")),
    uplot: asset("uplot.js", JAVASCRIPT, include_bytes!("assets/uplot.min.js")),
    uplot_style: asset("uplot.css", CSS, include_bytes!("assets/uplot.min.css")),
});

/// The file at a path.
pub(super) fn at(path: &str) -> Option<&'static Asset> {
    let Assets { style, script, icon, htmx, uplot, uplot_style } = &*ASSETS;
    [style, script, icon, htmx, uplot, uplot_style].into_iter().find(|asset| asset.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_the_content() {
        let path = &ASSETS.script.path;
        assert!(path.starts_with("/assets/app.") && path.ends_with(".js") && path.len() == 27, "{path}");
        assert!(at(path).is_some_and(|found| found.body == ASSETS.script.body));
        assert!(at("/assets/app.js").is_none());
    }

    /// What needs `unsafe-eval` or an inline script would do nothing under the policy that pages have.
    #[test]
    fn the_own_script_and_style_need_no_exception_from_the_policy() {
        let script = std::str::from_utf8(ASSETS.script.body).expect("text");
        for forbidden in ["eval(", "innerHTML", "new Function", "http://", "https://"] {
            assert!(!script.contains(forbidden), "{forbidden}");
        }
        let style = std::str::from_utf8(ASSETS.style.body).expect("text");
        assert!(!style.contains("url(") && !style.contains("@import"));
    }
}

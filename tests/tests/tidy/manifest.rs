//! As much of Cargo.toml as the rules ask for.

use crate::tree::Tree;

/// One package.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    /// Its folder from the root.
    pub(crate) folder: String,
    /// Its name.
    pub(crate) name: String,
    /// Names of the packages it depends on in any way: at run time, for tests, for building, per target.
    pub(crate) dependencies: Vec<String>,
    /// Values of `path` in its targets.
    pub(crate) targets: Vec<String>,
    /// Whether it takes the lints of the workspace.
    pub(crate) lints: bool,
}

impl Manifest {
    /// The package in this folder.
    pub(crate) fn read(tree: &Tree, folder: &str) -> Self {
        let mut manifest = Self { folder: folder.to_owned(), ..Self::default() };
        let mut section = String::new();
        for line in tree.text(&format!("{folder}/Cargo.toml")).lines() {
            let line = without_comment(line);
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']).to_owned();
                if let Some((kind, name)) = section.rsplit_once("dependencies.")
                    && (kind.is_empty() || kind.ends_with(['-', '.']))
                {
                    manifest.dependencies.push(name.to_owned());
                }
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let (key, value) = (key.trim(), value.trim());
            let plain = value.trim_matches('"');
            if section == "package" && key == "name" {
                manifest.name = plain.to_owned();
            } else if section == "lints" && key == "workspace" {
                manifest.lints = value == "true";
            } else if key == "path" && ["lib", "bin", "test", "bench", "example"].contains(&section.as_str()) {
                manifest.targets.push(plain.to_owned());
            } else if section.ends_with("dependencies") {
                manifest.dependencies.push(renamed(value).unwrap_or(key).split('.').next().unwrap_or(key).to_owned());
            }
        }
        manifest
    }

    /// All members of the workspace in their order.
    pub(crate) fn members(tree: &Tree) -> Vec<Self> {
        members(tree).iter().map(|member| Self::read(tree, member)).collect()
    }
}

/// `package = "name"` within an inline table.
fn renamed(value: &str) -> Option<&str> {
    value.split_once("package = \"")?.1.split('"').next()
}

fn without_comment(line: &str) -> &str {
    line.split(" #").next().filter(|_| !line.trim_start().starts_with('#')).unwrap_or_default().trim()
}

/// Lines of an array of strings in the root manifest.
fn array<'a>(tree: &'a Tree, key: &str) -> Vec<&'a str> {
    let start = format!("{key} = [");
    let lines = tree.text("Cargo.toml").lines().skip_while(move |line| !line.starts_with(&start));
    let mut found = Vec::new();
    for line in lines {
        found.push(line);
        if line.contains(']') {
            break;
        }
    }
    found
}

/// The folders of the workspace's members in their order.
pub(crate) fn members(tree: &Tree) -> Vec<String> {
    let lines = array(tree, "members");
    let quoted = lines.iter().flat_map(|line| without_comment(line).split('"').skip(1).step_by(2));
    quoted.map(str::to_owned).collect()
}

/// Folders that the workspace leaves out.
pub(crate) fn excluded(tree: &Tree) -> Vec<String> {
    let lines = array(tree, "exclude");
    let quoted = lines.iter().flat_map(|line| without_comment(line).split('"').skip(1).step_by(2));
    quoted.map(str::to_owned).collect()
}

/// Members whose line has no comment.
pub(crate) fn members_without_comment(tree: &Tree) -> Vec<String> {
    let lines = array(tree, "members").into_iter().filter(|line| line.contains('"') && !line.contains(" # "));
    lines.map(|line| line.trim().to_owned()).collect()
}

/// The crates under `[workspace.dependencies]` that are not our own.
pub(crate) fn workspace_dependencies(tree: &Tree) -> Vec<String> {
    let lines = tree.text("Cargo.toml").lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    let names = lines.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once('='));
    let names = names.map(|(name, _)| name.trim().to_owned());
    names.filter(|name| !name.starts_with("weir-") && !name.starts_with('#')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_dependency_is_seen() {
        let text = "[package]\nname = \"weir-a\"\n[dependencies]\naya.workspace = true # why\nserde = { version = \"1\" }\n\
                    other = { package = \"libc\", version = \"1\" }\n# clap = \"4\"\n[dev-dependencies.proptest]\nversion = \"1\"\n\
                    [target.'cfg(loom)'.dev-dependencies]\nloom.workspace = true\n[[bin]]\npath = \"src/x.rs\"\n\
                    [lints]\nworkspace = true\n";
        let manifest = Manifest::read(&Tree::of(&[("a/Cargo.toml", text)]), "a");
        assert_eq!(manifest.dependencies, ["aya", "serde", "libc", "proptest", "loom"]);
        assert_eq!((manifest.name.as_str(), manifest.lints), ("weir-a", true));
        assert_eq!(manifest.targets, ["src/x.rs"]);
    }

    #[test]
    fn members_are_read_in_order() {
        let text =
            "[workspace]\nmembers = [\n  \"ebpf/abi\", # words\n  \"tests\",\n]\nexclude = [\"fuzz\"] # nightly\n";
        let tree = Tree::of(&[("Cargo.toml", text)]);
        assert_eq!(members(&tree), ["ebpf/abi", "tests"]);
        assert_eq!(excluded(&tree), ["fuzz"]);
        assert_eq!(members_without_comment(&tree), ["\"tests\","]);
    }
}

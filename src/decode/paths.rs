//! The paths of source files as coverage tools write them, as paths from the repository's root.
//!
//! Contract: [`normalise`] gives one spelling (slashes, no `.` and `..`, no `file:`, drive letters large), [`resolve`] a path
//! from the root where that can be known: a relative path is joined to the report's source folder only when there is
//! exactly one, else nobody can tell to which it belongs; what then begins with the repository's root loses it. A source
//! folder that is absolute and not inside the root is a place on some machine: two machines must not make two files of
//! one, so it is left away. An absolute path outside the root stays: it is a file of the system or of a dependency.
//!
//! # Invariants
//! Pure text: no file system is asked, and the result never has a backslash, `.`, an empty part, or `..` but in front.

use std::borrow::Cow;

/// A path in its one spelling; empty where there is none.
pub(super) fn normalise(path: &str) -> String {
    let path = if path.contains('\\') { Cow::Owned(path.replace('\\', "/")) } else { Cow::Borrowed(path) };
    let path = match path.strip_prefix("file://") {
        Some(path) => path.strip_prefix('/').filter(|path| drive(path)).unwrap_or(path),
        None => path.strip_prefix("//?/").unwrap_or(&path),
    };
    let (mut start, rest) = match path.strip_prefix('/') {
        Some(rest) => ("/".to_owned(), rest),
        None if drive(path) => (path[..1].to_ascii_uppercase() + ":/", &path[3..]),
        None => (String::new(), path),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in rest.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if !start.is_empty() => {}
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return String::new();
    }
    start.reserve(rest.len());
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            start.push('/');
        }
        start.push_str(part);
    }
    // `./c:/…`
    let uncovered = !absolute(path) && drive(&start);
    if uncovered { normalise(&start) } else { start }
}

/// `C:/…`
fn drive(path: &str) -> bool {
    matches!(path.as_bytes(), [letter, b':', b'/', ..] if letter.is_ascii_alphabetic())
}

fn absolute(path: &str) -> bool {
    path.starts_with('/') || drive(path)
}

/// Where the paths of a report begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roots {
    /// The repository's root on the machine that wrote the report, without a slash at its end; may be empty.
    root: String,
    /// The report's only source folder, seen from the root or as far as known.
    source: String,
}

impl Roots {
    /// From the root that is known beside the report, and the source folders that the report names.
    pub(super) fn new(root: Option<&str>, sources: &[String]) -> Roots {
        let mut roots = Roots { root: root.map(normalise).unwrap_or_default(), source: String::new() };
        // What a writer failed to fill in is no folder: `--source`, `${WORKSPACE}`.
        let named = |source: &&String| !source.trim().starts_with("--") && !source.contains('$');
        let mut folders: Vec<String> =
            sources.iter().filter(named).map(|source| roots.inside(normalise(source.trim()))).collect();
        folders.sort();
        folders.dedup();
        if let [source] = &mut folders[..] {
            roots.source = std::mem::take(source);
        }
        roots
    }

    /// A normalised path, seen from the repository's root where that can be known; empty when it is the root itself.
    pub(super) fn resolve(&self, path: &str) -> String {
        let path = path.to_owned();
        if absolute(&path) {
            return self.inside(path);
        }
        if path.is_empty() || self.source.is_empty() || absolute(&self.source) {
            return path;
        }
        normalise(&format!("{}/{path}", self.source))
    }

    /// Without the root, where it begins with it.
    fn inside(&self, path: String) -> String {
        let at = self.root.len();
        // The drives of Windows know no large and small letters.
        let same = |start: &str| start == self.root || drive(start) && start.eq_ignore_ascii_case(&self.root);
        match path.get(..at) {
            Some(start) if at > 0 && same(start) => match path[at..].strip_prefix('/') {
                Some(rest) => rest.to_owned(),
                None if path.len() == at => String::new(),
                None => path,
            },
            _ => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_has_one_spelling() {
        for (path, one) in [
            ("src/a.rs", "src/a.rs"),
            ("./src//a.rs", "src/a.rs"),
            (".\\src\\lib\\..\\a.rs", "src/a.rs"),
            ("../../a.c", "../../a.c"),
            ("a/../../b.c", "../b.c"),
            ("/build/./x/../a.c", "/build/a.c"),
            ("/../a.c", "/a.c"),
            ("c:\\work\\a.cs", "C:/work/a.cs"),
            ("\\\\?\\C:\\work\\a.cs", "C:/work/a.cs"),
            ("file:///C:/work/a.cs", "C:/work/a.cs"),
            ("file:///work/a.ts", "/work/a.ts"),
            ("\\\\share\\work\\a.cs", "/share/work/a.cs"),
            (" a b.c", " a b.c"),
            ("./c:/a.cs", "C:/a.cs"),
            ("é/ü.py", "é/ü.py"),
            (".", ""),
            ("./", ""),
            ("/", ""),
            ("", ""),
        ] {
            assert_eq!(normalise(path), one, "{path}");
        }
    }

    #[test]
    fn a_file_is_named_from_the_root_where_that_is_known() {
        let resolved = |root: &str, sources: &[&str], file: &str| {
            let sources: Vec<String> = sources.iter().map(|source| (*source).to_owned()).collect();
            Roots::new(Some(root), &sources).resolve(&normalise(file))
        };
        for (root, sources, file, path) in [
            ("", &[][..], "/ci/job/src/a.rs", "/ci/job/src/a.rs"),
            ("/ci/job", &[], "/ci/job/src/a.rs", "src/a.rs"),
            ("/ci/job/", &[], "/ci/job2/src/a.rs", "/ci/job2/src/a.rs"),
            ("/ci/job", &[], "/usr/include/stdio.h", "/usr/include/stdio.h"),
            ("C:\\ci\\Job", &[], "c:/ci/job/src/a.cs", "src/a.cs"),
            ("/ci/job", &[], "src/a.rs", "src/a.rs"),
            ("", &["/ci/job/src"], "pkg/a.py", "pkg/a.py"),
            ("/ci/job", &["/ci/job/src"], "pkg/a.py", "src/pkg/a.py"),
            ("/ci/job", &["/ci/job"], "pkg/a.py", "pkg/a.py"),
            ("/ci/job", &["/other/src"], "pkg/a.py", "pkg/a.py"),
            ("/ci/job", &["src", "./src/", "--source", "${DIR}"], "a.py", "src/a.py"),
            ("/ci/job", &["src"], "/ci/job/lib/a.py", "lib/a.py"),
            ("/ci/job", &["src/main", "src/test"], "com/A.java", "com/A.java"),
            ("", &["../src"], "a.py", "../src/a.py"),
        ] {
            assert_eq!(resolved(root, sources, file), path, "{root} {sources:?} {file}");
        }
    }

    proptest! {
        #[test]
        fn any_text_becomes_a_path_that_stays_as_it_is(text in "[a.:/\\\\ C~é]{0,20}", root in "[a./C:]{0,6}") {
            let path = normalise(&text);
            prop_assert_eq!(&normalise(&path), &path);
            prop_assert!(!path.contains('\\') && !path.contains("//") && !path.ends_with("/.."), "{}", path);
            Roots::new(Some(&root), std::slice::from_ref(&text)).resolve(&path);
        }
    }
}

//! The files that `weir send` is given: names, patterns, folders, standard input.
//!
//! Contract: [`expand`] gives each file once, in the order of the arguments, those of a pattern or folder by name. A name
//! that exists is that file, whatever characters it has. A folder stands for the `.xml` files in it at any depth.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A file, or standard input, at most; above it is not sent.
pub const INPUT_BYTES_MAX: u64 = 256 << 20;

/// Something to read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

/// Why an input cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// Nothing of this name.
    #[error("there is no such file, and no file of this pattern")]
    Nothing,
    /// No valid pattern.
    #[error("is no valid pattern")]
    Pattern(#[source] glob::PatternError),
    /// It cannot be read.
    #[error("cannot be read")]
    Unreadable(#[source] io::Error),
    /// It is too large.
    #[error("has more than {INPUT_BYTES_MAX} bytes")]
    TooLarge,
    /// Reading took too long.
    #[error("could not be read in time")]
    Slow,
}

impl Input {
    /// What a person calls it.
    pub fn title(&self) -> String {
        match self {
            Input::Stdin => "standard input".to_owned(),
            Input::File(path) => path.display().to_string(),
        }
    }

    /// How many bytes it has, as far as that is known before it is read.
    pub fn bytes(&self) -> u64 {
        match self {
            Input::Stdin => 0,
            Input::File(path) => std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// It cannot be read or is too large.
    pub fn read(&self) -> Result<Vec<u8>, InputError> {
        let mut bytes = Vec::new();
        let limit = INPUT_BYTES_MAX + 1;
        match self {
            Input::Stdin => io::stdin().lock().take(limit).read_to_end(&mut bytes),
            Input::File(path) => std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)),
        }
        .map_err(InputError::Unreadable)?;
        if bytes.len() as u64 > INPUT_BYTES_MAX { Err(InputError::TooLarge) } else { Ok(bytes) }
    }
}

/// The inputs that the arguments stand for, and the arguments that stand for none.
pub fn expand(arguments: &[String]) -> (Vec<Input>, Vec<(String, InputError)>) {
    let (mut inputs, mut seen, mut problems) = (Vec::new(), BTreeSet::new(), Vec::new());
    for argument in arguments {
        match expand_one(argument) {
            Ok(found) => inputs.extend(found.into_iter().filter(|input| seen.insert(input.clone()))),
            Err(error) => problems.push((argument.clone(), error)),
        }
    }
    (inputs, problems)
}

fn expand_one(argument: &str) -> Result<Vec<Input>, InputError> {
    if argument == "-" {
        return Ok(vec![Input::Stdin]);
    }
    let path = Path::new(argument);
    if path.is_dir() {
        let pattern = format!("{}/**/*.xml", glob::Pattern::escape(argument.trim_end_matches('/')));
        return matches(&pattern);
    }
    if path.exists() {
        return Ok(vec![Input::File(path.to_owned())]);
    }
    matches(argument)
}

fn matches(pattern: &str) -> Result<Vec<Input>, InputError> {
    let paths = glob::glob(pattern).map_err(InputError::Pattern)?;
    let found: Vec<Input> = paths.flatten().filter(|path| path.is_file()).map(Input::File).collect();
    if found.is_empty() { Err(InputError::Nothing) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_patterns_and_folders_give_each_file_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("deep")).expect("makes");
        for name in ["b.xml", "a.xml", "deep/c.xml", "notes.txt", "odd[1].xml"] {
            std::fs::write(at(name), "x").expect("writes");
        }
        let text = |name: &str| at(name).display().to_string();
        let names = |arguments: &[String]| -> Vec<String> {
            let (inputs, problems) = expand(arguments);
            assert!(problems.is_empty(), "{problems:?}");
            let prefix = format!("{}/", folder.path().display());
            inputs.iter().map(|input| input.title().replace(&prefix, "")).collect()
        };
        assert_eq!(names(&[text("*.xml")]), ["a.xml", "b.xml", "odd[1].xml"]);
        assert_eq!(names(&[text("b.xml"), text("*.xml")]), ["b.xml", "a.xml", "odd[1].xml"]);
        assert_eq!(names(&[text("odd[1].xml")]), ["odd[1].xml"], "a name that exists is no pattern");
        assert_eq!(names(&[text(""), "-".to_owned()]).len(), 5);
        assert_eq!(names(&[text("**/c.xml")]), ["deep/c.xml"]);
        let (inputs, problems) = expand(&[text("*.json"), text("[")]);
        assert!(inputs.is_empty());
        assert!(matches!(problems[0].1, InputError::Nothing), "{problems:?}");
        assert!(matches!(problems[1].1, InputError::Pattern(_)), "{problems:?}");
    }
}

//! Lines of stack traces: which lines are frames, and which frame is the first of the project's own code.
//!
//! Contract: [`frame`] knows the forms of the JVM, .NET, JavaScript, Python, Ruby, PHP, Go and Rust. A frame is named by its
//! function, or by its file where it has no function; line numbers are left out, since they move with every commit. Frames
//! of languages' own libraries, test runners and the best-known assertion and browser libraries are passed over:
//! [`LIBRARY_FUNCTIONS`] by how the function's name begins, [`LIBRARY_FILES`] by what the file's path contains.

/// A frame's function and file; either may be empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    function: &'a str,
    file: &'a str,
}

const LIBRARY_FUNCTIONS: &[&str] = &[
    // JVM
    "java.",
    "javax.",
    "jdk.",
    "sun.",
    "com.sun.",
    "kotlin.",
    "kotlinx.",
    "scala.",
    "groovy.",
    "org.codehaus.groovy.",
    "org.junit.",
    "junit.",
    "org.testng.",
    "org.hamcrest.",
    "org.assertj.",
    "org.opentest4j.",
    "org.mockito.",
    "org.spockframework.",
    "org.apache.maven.",
    "org.gradle.",
    "worker.org.gradle.",
    "org.openqa.selenium.",
    "com.codeborne.selenide.",
    "io.appium.",
    "io.cucumber.",
    "cucumber.",
    "io.restassured.",
    "org.springframework.",
    "org.hibernate.",
    "com.google.common.",
    "reactor.",
    "io.netty.",
    "net.bytebuddy.",
    "net.sf.cglib.",
    "com.intellij.",
    "org.eclipse.",
    "okhttp3.",
    // .NET
    "System.",
    "Microsoft.",
    "NUnit.",
    "Xunit.",
    "FluentAssertions.",
    "Shouldly.",
    "Moq.",
    "OpenQA.",
    // Rust
    "std::",
    "core::",
    "alloc::",
    "test::",
    "tokio::",
    "<alloc::",
    "<core::",
    "<std::",
    "rust_begin_unwind",
    "__rust",
    "futures_util::",
    // Go
    "testing.",
    "runtime.",
    "reflect.",
    "net/http.",
    "panic(",
    "github.com/stretchr/testify",
    // JavaScript
    "Promise.",
    "process.",
    "new Promise",
    "Module.",
    "Array.",
    "async Promise.",
    "asyncFn",
    "runTest",
    "Jasmine",
];

const LIBRARY_FILES: &[&str] = &[
    "node_modules",
    "node:",
    "internal/",
    "<anonymous>",
    "native",
    "site-packages",
    "dist-packages",
    "lib/python",
    "_pytest/",
    "unittest/",
    "/rustc/",
    ".cargo/registry",
    "/gems/",
    "lib/ruby",
    "vendor/",
    "/usr/local/go/src/",
    "/usr/lib/",
    "jasmine",
    "mocha",
    "<frozen",
    "<string>",
    "phar://",
];

impl Frame<'_> {
    fn library(&self) -> bool {
        let function = self
            .function
            .rsplit_once('/')
            .filter(|(module, _)| module.starts_with("java."))
            .map_or(self.function, |it| it.1);
        LIBRARY_FUNCTIONS.iter().any(|start| function.starts_with(start))
            || LIBRARY_FILES.iter().any(|part| self.file.contains(part))
    }

    fn name(&self) -> String {
        let file = self.file.rsplit(['/', '\\']).next().unwrap_or_default();
        // A JVM function names its class, and so its file.
        match (self.function, file) {
            (function, "") => function.to_owned(),
            ("", file) => file.to_owned(),
            (function, file) => format!("{function} {file}"),
        }
    }
}

/// The name of the first frame that is the project's own; of the first at all when none is.
pub(super) fn first_project_frame<'a>(lines: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut first = None;
    for line in lines {
        let Some(frame) = frame(line.trim()) else { continue };
        if !frame.library() {
            return Some(frame.name());
        }
        first = first.or_else(|| Some(frame.name()));
    }
    first
}

/// Whether a line says that frames were left out.
pub(super) fn more(line: &str) -> bool {
    line.starts_with("... ") && line.ends_with(" more")
        || line.starts_with("goroutine ") && line.ends_with("]:")
        || !line.is_empty() && line.bytes().all(|byte| matches!(byte, b'^' | b'~' | b' '))
}

/// The frame that a trimmed line shows.
pub(super) fn frame(line: &str) -> Option<Frame<'_>> {
    if let Some(rest) = line.strip_prefix("at ") {
        return at_frame(rest);
    }
    if let Some(rest) = line.strip_prefix("File \"") {
        let (file, rest) = rest.split_once('"')?;
        let function = rest.rsplit_once(" in ").map_or("", |(_, function)| function.trim());
        return rest.trim_start().starts_with(", line ").then_some(Frame { function, file });
    }
    if let Some(rest) = line.strip_prefix('#') {
        let (number, rest) = rest.split_once(' ')?;
        let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let (file, function) = rest.split_once("): ")?;
        let file = file.rsplit_once('(').map_or(file, |(file, _)| file);
        return numbered.then_some(Frame { function: function.split('(').next().unwrap_or_default(), file });
    }
    if let Some((place, function)) = line.split_once(":in ").filter(|(place, _)| located(place).is_some()) {
        return Some(Frame { function: function.trim_matches(['`', '\'']), file: located(place)? });
    }
    let place = line.split_once(" +0x").map_or(line, |(place, _)| place);
    located(place).map(|file| Frame { function: "", file })
}

/// What follows `at`: `function(place)`, `function (place)`, `function(arguments) in place`, or a place alone.
fn at_frame(rest: &str) -> Option<Frame<'_>> {
    if let Some((function, file)) = rest.split_once(") in ") {
        let file = file.rsplit_once(":line ").map_or(file, |(file, _)| file);
        return Some(Frame { function: function.split('(').next().unwrap_or_default(), file });
    }
    if let Some(file) = located(rest.trim_end()) {
        return Some(Frame { function: "", file });
    }
    let (function, place) = rest.trim_end().strip_suffix(')')?.rsplit_once('(')?;
    let jvm = !function.ends_with(' ');
    let function = function.trim_end();
    let sound = if jvm {
        function.contains(['.', '$', ':']) && !function.contains(' ')
    } else {
        located(place).is_some()
            || place.starts_with("node:")
            || matches!(place, "native" | "native code" | "<anonymous>")
    };
    if !sound {
        return None; // A sentence that begins with "at".
    }
    Some(Frame { function, file: if jvm { "" } else { located(place).unwrap_or(place) } })
}

/// The file of `file:line` or `file:line:column`.
fn located(place: &str) -> Option<&str> {
    let (mut file, last) = place.rsplit_once(':')?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !number(last) {
        return None;
    }
    if let Some((shorter, line)) = file.rsplit_once(':').filter(|(_, line)| number(line)) {
        (file, _) = (shorter, line);
    }
    let name = file.rsplit(['/', '\\']).next()?;
    let extension = name.rsplit_once('.')?.1;
    let plain = (1..=5).contains(&extension.len()) && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (plain && !extension.bytes().all(|byte| byte.is_ascii_digit()) && !file.starts_with("http")).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_all_kinds_are_known() {
        for (line, function, file) in [
            ("at com.acme.Cart.add(Cart.java:17)", "com.acme.Cart.add", ""),
            ("at java.base/java.lang.Thread.run(Thread.java:842)", "java.base/java.lang.Thread.run", ""),
            ("at Foo.bar (/srv/app/cart.js:9:22)", "Foo.bar", "/srv/app/cart.js"),
            ("at /srv/app/cart.js:9:22", "", "/srv/app/cart.js"),
            (r"at A.B.C(String x, Int32 y) in D:\p\C.cs:line 168", "A.B.C", r"D:\p\C.cs"),
            ("File \"/srv/t.py\", line 9, in test_x", "test_x", "/srv/t.py"),
            ("./spec/a_spec.rb:12:in `block'", "block", "./spec/a_spec.rb"),
            ("#0 /srv/A.php(12): A->b('x')", "A->b", "/srv/A.php"),
            ("/srv/tests/ATest.php:12", "", "/srv/tests/ATest.php"),
            ("/srv/a_test.go:23 +0x1d", "", "/srv/a_test.go"),
        ] {
            assert_eq!(frame(line), Some(Frame { function, file }), "{line}");
        }
        for line in [
            "at the end of the day",
            "#1 is wrong",
            "a_test.go:23: got 3",
            "10:45",
            "at 10:45 (local time)",
            "File \"x\" is gone",
        ] {
            assert_eq!(frame(line), None, "{line}");
        }
    }

    #[test]
    fn libraries_are_passed_over() {
        let stack = "at org.junit.Assert.fail(Assert.java:1)\n at java.base/java.lang.X.y(X.java:2)\n at com.acme.A.b(A.java:3)";
        assert_eq!(first_project_frame(stack.lines()).as_deref(), Some("com.acme.A.b"));
        let stack = "at ok (/x/node_modules/chai/a.js:1:2)\nat Object.test (/x/src/a.test.js:3:4)";
        assert_eq!(first_project_frame(stack.lines()).as_deref(), Some("Object.test a.test.js"));
        assert_eq!(first_project_frame("at org.junit.A.b(A.java:1)".lines()).as_deref(), Some("org.junit.A.b"));
        assert_eq!(first_project_frame("no frames".lines()), None);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn adds() {}

    #[test]
    fn totals() {
        assert_eq!(41, 42, "the total is off: <41>");
    }

    #[test]
    fn flaky() {
        let attempt = std::env::var("NEXTEST_ATTEMPT").unwrap();
        assert!(attempt == "3", "attempt {attempt} fails");
    }

    #[test]
    #[ignore = "later"]
    fn ignored() {}

    #[test]
    fn hangs() {
        std::thread::park();
    }
}

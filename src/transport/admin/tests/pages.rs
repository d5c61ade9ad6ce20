//! Which pages there are, and what the first of them may do in a browser.

use super::*;

#[tokio::test]
async fn only_get_and_only_known_pages_are_answered() {
    let door = Door::open().await;
    for method in ["POST", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        let answer = door
            .ask(&format!(
                "{method} /metrics HTTP/1.1\r\nHost: localhost\r\n"
            ))
            .await;
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("allow: get"), "{}", answer.head);
    }
    assert_eq!(door.get("/nothing").await.status, 404);
    let root = door.get("/").await;
    assert_eq!(root.status, 200);
    assert!(
        root.head.contains("cache-control: no-store"),
        "{}",
        root.head
    );
    let pages = root.text().lines().filter(|line| line.starts_with('/'));
    // One of them never ends.
    for page in pages.filter(|page| !page.starts_with("/v1/events")) {
        let path = page.split(' ').next().unwrap();
        assert_ne!(door.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn the_page_may_load_its_own_files_and_nothing_else() {
    let door = Door::open().await;
    let ask = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html,*/*;q=0.8\r\n";
    let page = door.ask(ask).await;
    assert_eq!(page.status, 200);
    for header in [
        "content-type: text/html; charset=utf-8",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "x-frame-options: deny",
        "vary: accept",
    ] {
        assert!(page.head.contains(header), "{header}: {}", page.head);
    }
    let policy = page
        .head
        .lines()
        .find(|line| line.starts_with("content-security-policy: "));
    let policy = policy.unwrap();
    assert!(policy.contains("default-src 'none'; script-src 'self'; style-src 'self'"));
    assert!(!policy.contains("unsafe"), "{policy}");
    // Nothing that such a policy would refuse stands in it.
    for word in ["<style", "style=\"", "onclick", "javascript:", "https:"] {
        assert!(!page.text().contains(word), "{word}");
    }
    assert_eq!(page.text().matches("<script").count(), 1);
    for (file, kind) in [("style.css", "text/css"), ("app.js", "text/javascript")] {
        let answer = door.get(&format!("/ui/{file}")).await;
        assert_eq!(answer.status, 200, "{file}");
        let content = format!("content-type: {kind}");
        assert!(answer.head.contains(&content), "{}", answer.head);
    }
}

//! The dashboard in a real browser: it shows what happens, it can be used without a mouse and on a
//! phone, and what clients call themselves is only ever text.

use pushgate::wire::datagram::Target;
use pushgate::wire::reason::CloseCode;
use serde_json::{Value, json};

use crate::support::baseline::Baseline;
use crate::support::browser::Browser;
use crate::support::client::{Client, Login};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;
use crate::support::write_secret;

const TOKEN: &str = "0123456789abcdef-of-the-admin";
/// A name that would be an element, with a script, wherever it is taken for markup.
const HOSTILE: &str = "<img src=x onerror=\"document.title='owned'\">";

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

async fn live(browser: &Browser) {
    browser.text("#live", |text| text == "live").await;
}

async fn view(browser: &Browser, hash: &str) {
    browser
        .run("location.hash = arguments[0]", json!([hash]))
        .await;
}

/// The line below the number of a tile.
fn sub(title: &str) -> String {
    format!(
        "const tile = [...document.querySelectorAll('.tile')]
            .find((tile) => tile.querySelector('h2').textContent === '{title}');
        return tile.textContent"
    )
}

async fn tile(browser: &Browser, title: &str, wanted: &str) {
    let is_wanted = |value: &Value| value.as_str().is_some_and(|text| text.contains(wanted));
    browser.until(wanted, &sub(title), is_wanted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_shows_what_happens_and_does_what_it_is_told() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let mut ada = Login::user("ada")
        .device("phone")
        .group("news")
        .group(HOSTILE);
    ada.heartbeat_s = 60;
    let mut ada = ada.enter(gateway.native).await;
    let mut hostile = Login::user(HOSTILE)
        .device(HOSTILE)
        .enter(gateway.native)
        .await;
    browser.open(&format!("http://{}/", gateway.admin)).await;
    live(&browser).await;
    tile(&browser, "Connections", "2 sessions").await;
    tile(&browser, "Deliveries a second", "0 since the start").await;
    let sender = Sender::unsigned(gateway.udp).await;
    sender.push(&[Target::All], b"counted").await;
    tile(&browser, "Deliveries a second", "2 since the start").await;
    tile(&browser, "Pushes a second", "1 since the start").await;
    browser
        .text("#requests", |text| {
            text.contains("push") && text.contains("done")
        })
        .await;
    look_up_and_kick(&browser, &mut ada).await;
    be_inert(&browser, &mut hostile).await;

    warn(&browser).await;

    // What the gateway says is what is shown, also once it says nothing any more.
    let said = browser.messages().await;
    assert!(said.is_empty(), "{said:?}");
    drop((ada, hostile));
    view(&browser, "#/").await;
    tile(&browser, "Connections", "0 sessions").await;
    browser.open("about:blank").await;
    eventually("nobody watches any more", async || {
        let open = gateway.scrape().await.value("pushgate_event_streams");
        (open == 0).then_some(()).ok_or_else(|| open.to_string())
    })
    .await;
    // It keeps connections that nothing is asked on, for as long as the gateway does.
    drop(browser);
    baseline.assert_back_at(&gateway).await;
}

async fn look_up_and_kick(browser: &Browser, ada: &mut Client) {
    ada.next_push().await;
    browser.click("nav a[data-view=users]").await;
    browser.fill("#lookup-user", "ada").await;
    browser.press(ENTER).await;
    let row = browser
        .text("#sessions tbody", |text| text.contains("phone"))
        .await;
    assert!(row.contains("news") && row.contains("127.0.0.1:"), "{row}");
    assert!(row.contains("level") && row.contains("1 min"), "{row}");
    browser
        .text("#lookup-said", |text| text == "ada has one session.")
        .await;
    // Sent to the user that was looked up.
    browser.fill("#push-payload", "from the page").await;
    browser.click("#push button[type=submit]").await;
    let said = browser
        .text("#push-said", |text| text.contains("matched"))
        .await;
    assert!(said.starts_with("DONE, matched 1: 1 written"), "{said}");
    assert_eq!(ada.next_push().await.2, b"from the page");
    // Nothing happens to who is asked about and not confirmed.
    browser.click("#sessions tbody button").await;
    browser.click("#kick-dialog [data-close]").await;
    ada.assert_alive().await;
    browser.click("#sessions tbody button").await;
    let whom = browser.text("#kick-whom", |text| !text.is_empty()).await;
    assert_eq!(whom, "The connection of ada on phone is closed at once.");
    browser.fill("#kick-reason", "by hand").await;
    browser.press(ENTER).await;
    let closed = ada.closed().await;
    assert_eq!(
        (closed.code, &*closed.reason),
        (CloseCode::Kicked, "by hand")
    );
    browser
        .text("#lookup-said", |text| text == "Kick: DONE, 1 closed")
        .await;
    browser
        .text("#ends tbody", |text| text.contains("kicked"))
        .await;
    browser.click("nav a[data-view=closed]").await;
    browser
        .text("#closed-table tbody", |text| text.contains("ada"))
        .await;
}

async fn be_inert(browser: &Browser, hostile: &mut Client) {
    view(browser, "#/users").await;
    browser.fill("#lookup-user", HOSTILE).await;
    browser.click("#lookup button").await;
    browser
        .text("#sessions tbody th", |text| text == HOSTILE)
        .await;
    browser.click("#push button[type=submit]").await;
    browser
        .text("#push-said", |text| text.contains("matched 1: 1 written"))
        .await;
    hostile.next_push().await;
    let images = "return document.querySelectorAll('img, [onerror]').length";
    assert_eq!(browser.run(images, json!([])).await, json!(0));
    let title = browser.run("return document.title", json!([])).await;
    assert_eq!(title, json!("Users – pushgate"));
    // Even a script of the page itself could not make it markup.
    let forced = "try { document.body.innerHTML = arguments[0]; return 'done' }
        catch (error) { return error.name }";
    let forced = browser.run(forced, json!([HOSTILE])).await;
    assert_eq!(forced, json!("TypeError"));
    let refused = browser.messages().await;
    let is_that = |message: &String| message.contains("TrustedHTML");
    assert!(refused.iter().all(is_that), "{refused:?}");
}

/// What no healthy gateway says is shown all the same.
async fn warn(browser: &Browser) {
    view(browser, "#/").await;
    let text = "#tasks-verdict";
    browser.text(text, |text| text.starts_with("No leak")).await;
    let script = "return fetch('v1/overview').then((response) => response.json()).then((state) => {
        state.leaks = [{ kind: 'refusal', live: 99, explained: 3, oldest_s: 70 }];
        state.overloaded = true;
        state.storms = [{ started_ms: 0, seconds: 70, ongoing: true, peak: 900, opened: 5000,
            closed: 4000, reasons: [{ name: 'reset', count: 4000 }], rejected: 0, causes: [],
            sources: 214, more_sources: false, top: [{ name: '203.0.113.0/24', count: 8000 }] }];
        return import('/ui/overview.js').then((overview) => {
            overview.show(state);
            const shown = (id) => document.getElementById(id);
            const row = [...document.querySelectorAll('#tasks tbody tr')]
                .find((row) => row.cells[0].textContent === 'refusal');
            return [shown('verdicts').textContent, shown('tasks-verdict').className,
                row.cells[1].className, shown('storms').textContent];
        });
    })";
    let shown = browser.run(script, json!([])).await;
    let told = shown[0].as_str().unwrap_or_default();
    assert!(
        told.contains("99 tasks of kind refusal, where 3 have a reason"),
        "{shown}"
    );
    assert!(told.contains("Overloaded"), "{shown}");
    assert_eq!(shown[1], json!("verdict bad"));
    assert_eq!(shown[2], json!("number bad"));
    let storm = shown[3].as_str().unwrap_or_default();
    for wanted in [
        "1 min 10 s, going on",
        "reset (4,000)",
        "203.0.113.0/24 (8,000)",
    ] {
        assert!(storm.contains(wanted), "{wanted}: {storm}");
    }
    browser.text(text, |text| text.starts_with("No leak")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_entered_once_and_goes_with_everything() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("token");
    write_secret(&path, TOKEN);
    let gateway = Gateway::start(&format!("[admin]\ntoken_file = {path:?}\n"));
    let mut ada = Login::user("ada").enter(gateway.native).await;
    let page = format!("http://{}/", gateway.admin);
    browser.open(&page).await;
    let open = "return document.querySelector('#token-dialog').open";
    browser.until("it asks", open, |open| open == true).await;
    browser.fill("#token", "something else").await;
    browser.press(ENTER).await;
    browser
        .text("#token-said", |text| text.contains("not this gateway's"))
        .await;
    browser.fill("#token", TOKEN).await;
    browser.press(ENTER).await;
    live(&browser).await;
    tile(&browser, "Connections", "1 session").await;
    browser
        .until("it is done", open, |open| open == false)
        .await;
    view(&browser, "#/users/ada").await;
    browser
        .text("#lookup-said", |text| text == "ada has one session.")
        .await;
    browser.click("#kick-all").await;
    browser.click("#kick-form button[type=submit]").await;
    assert_eq!(ada.closed().await.code, CloseCode::Kicked);
    // It outlives a reload of the tab, and not the wish to forget it.
    browser.open(&page).await;
    live(&browser).await;
    let stored = "return JSON.stringify([localStorage, document.cookie, location.href])";
    let stored = browser.run(stored, json!([])).await.to_string();
    assert!(!stored.contains(TOKEN), "{stored}");
    browser.click("#forget").await;
    browser
        .until("it asks again", open, |open| open == true)
        .await;
    drop(browser);
}

/// Looks that a page must bear: wide and narrow, dark and light.
const SCREENS: [(u32, bool); 4] = [(1280, false), (1280, true), (360, false), (360, true)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_fits_a_phone_and_reads_well_in_light_and_dark() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let gateway = Gateway::start("");
    let long = "a-name-of-one-word-that-is-far-longer-than-a-phone-is-wide-".repeat(4);
    let mut clients = vec![Login::user(&long).device(&long).group(&long)];
    clients.push(Login::user("ada").device("phone"));
    let mut held = Vec::new();
    for client in clients {
        held.push(client.enter(gateway.native).await);
    }
    held.pop();
    for (width, is_dark) in SCREENS {
        let screen = json!({
            "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500,
        });
        browser
            .devtools("Emulation.setDeviceMetricsOverride", screen)
            .await;
        let scheme = if is_dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        browser.devtools("Emulation.setEmulatedMedia", media).await;
        browser.open(&format!("http://{}/", gateway.admin)).await;
        live(&browser).await;
        let user = format!("#/users/{long}");
        for hash in ["#/", &user, "#/behind", "#/closed"] {
            view(&browser, hash).await;
            if hash == user {
                browser.text("#sessions", |text| text.contains(&long)).await;
            }
            let what = format!("{hash:.9} at {width}, dark {is_dark}");
            let faults = browser.run(FAULTS, json!([])).await;
            assert_eq!(faults, json!([]), "{what}");
        }
    }
    let said = browser.messages().await;
    assert!(said.is_empty(), "{said:?}");
    drop((browser, held));
}

/// What is wrong with a page: too wide, too faint, or without a name.
const FAULTS: &str = include_str!("dashboard/faults.js");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_can_be_reached_by_the_keyboard() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let gateway = Gateway::start("");
    let _ada = Login::user("ada")
        .device("phone")
        .enter(gateway.native)
        .await;
    browser
        .open(&format!("http://{}/#/users/ada", gateway.admin))
        .await;
    live(&browser).await;
    browser
        .text("#sessions", |text| text.contains("phone"))
        .await;
    let focused = "const at = document.activeElement;
        const ring = getComputedStyle(at);
        return [at.id || at.textContent, at.matches(':focus-visible') && ring.outlineStyle]";
    let mut order = Vec::new();
    for _ in 0..24 {
        browser.press(TAB).await;
        let at = browser.run(focused, json!([])).await;
        assert_ne!(at[1], json!("none"), "{at} has no ring");
        order.push(at[0].as_str().unwrap_or_default().to_owned());
    }
    let expected = [
        "Skip to the content",
        "Overview",
        "Users",
        "Behind",
        "Closed",
        "theme",
        "lookup-user",
        "Look up",
        "again",
        "kick-all",
        "Kick",
        "push-scope",
        "push-name",
        "push-payload",
        "Send",
    ];
    let mut rest = order.iter();
    for name in expected {
        assert!(
            rest.any(|at| at == name),
            "{name} is not reached in turn: {order:?}"
        );
    }
    // By it alone: look at who is there, ask for the kick, and think better of it.
    browser
        .run(
            "document.querySelector('#sessions button').focus()",
            json!([]),
        )
        .await;
    browser.press(ENTER).await;
    let open = "return document.querySelector('#kick-dialog').open";
    browser.until("it asks", open, |open| open == true).await;
    browser.press("\u{e00c}").await;
    browser
        .until("it is closed", open, |open| open == false)
        .await;
    let at = browser.run(focused, json!([])).await;
    assert_eq!(at[0], json!("Kick"), "the focus is back where it was");
    // The look is chosen by it too, and kept.
    let theme = "return document.documentElement.dataset.theme";
    for expected in ["light", "dark", "auto", "light"] {
        browser
            .run("document.querySelector('#theme').focus()", json!([]))
            .await;
        browser.press(ENTER).await;
        browser
            .until("the theme", theme, |theme| theme == expected)
            .await;
    }
    browser.open(&format!("http://{}/", gateway.admin)).await;
    assert_eq!(browser.run(theme, json!([])).await, json!("light"));
    // A gateway that is gone is said to be gone.
    drop(gateway);
    browser
        .text("#live", |text| text.contains("no connection"))
        .await;
    drop(browser);
}

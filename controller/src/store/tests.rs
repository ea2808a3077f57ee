use super::write::Step;
use super::*;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;

const OLD: &str = "# the old one\nlisteners: []";
const NEW: &str = "# the new one, with a comment\nlisteners: []\n\n";

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn text(store: &impl Store) -> Option<String> {
    store.latest().unwrap().map(|(_, text)| text)
}

#[test]
fn keeps_what_was_applied_byte_for_byte_across_restarts() {
    let state = directory();
    for (number, text) in [OLD, NEW, "", "\n", "no newline", "é\r\n"].into_iter().enumerate() {
        let mut store = FileStore::open(state.path()).unwrap();
        assert_eq!(store.append(text).unwrap(), Revision(number as u64 + 1));
        drop(store);
        let store = FileStore::open(state.path()).unwrap();
        assert_eq!(store.latest().unwrap(), Some((Revision(number as u64 + 1), text.to_owned())));
    }
    let store = FileStore::open(state.path()).unwrap();
    assert_eq!(store.history().unwrap(), (1..=6).map(Revision).collect::<Vec<_>>());
    assert_eq!(store.read(Revision(1)).unwrap(), OLD);
}

#[test]
fn has_nothing_before_the_first_revision() {
    let state = directory();
    let store = FileStore::open(state.path()).unwrap();
    assert_eq!(store.latest().unwrap(), None);
    assert_eq!(store.read(Revision(3)).unwrap_err().to_string(), "there is no revision 3; kept are none");
}

#[test]
fn holds_the_old_or_the_new_revision_whole_after_a_crash_at_any_step() {
    let steps = [
        (Step::Created, OLD),
        (Step::HalfWritten, OLD),
        (Step::Written, OLD),
        (Step::FileSynced, OLD),
        (Step::Renamed, NEW),
        (Step::DirectorySynced, NEW),
    ];
    for (crash, expected) in steps {
        let state = directory();
        let mut store = FileStore::open(state.path()).unwrap();
        store.append(OLD).unwrap();
        let stopped = store.append_until(NEW, |step| {
            if step == crash { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(stopped.unwrap(), None);
        drop(store);

        let mut store = FileStore::open(state.path()).unwrap();
        assert_eq!(text(&store).as_deref(), Some(expected), "after a crash at {crash:?}");
        let names: Vec<_> = fs::read_dir(state.path().join("revisions"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(names.iter().all(|name| name.ends_with(".yaml") && !name.starts_with('.')), "{names:?}");
        store.append("next").unwrap();
        assert_eq!(text(&store).as_deref(), Some("next"));
    }
}

#[test]
fn reports_a_damaged_newest_revision_instead_of_serving_an_older_one() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 5] = [
        ("a changed byte", |bytes| bytes[3] ^= 1),
        ("a cut end", |bytes| bytes.truncate(bytes.len() - 5)),
        ("a cut at a line's end", |bytes| bytes.truncate(OLD.find('\n').unwrap() + 1)),
        ("zeroes for bytes", |bytes| bytes.fill(0)),
        ("emptiness", Vec::clear),
    ];
    for (what, damage) in damages {
        let state = directory();
        let mut store = FileStore::open(state.path()).unwrap();
        store.append("first").unwrap();
        store.append(OLD).unwrap();
        let path = state.path().join("revisions/00000002.yaml");
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let error = store.latest().unwrap_err();
        assert!(
            matches!(&error, StoreError::Corrupt { path: named, .. } if *named == path),
            "{what}: {error}"
        );
        fs::rename(&path, state.path().join("damaged")).unwrap();
        assert_eq!(text(&store).as_deref(), Some("first"), "the way out that the message names");
    }
}

#[test]
fn refuses_a_revision_under_another_number() {
    let state = directory();
    let mut store = FileStore::open(state.path()).unwrap();
    store.append(OLD).unwrap();
    let revisions = state.path().join("revisions");
    fs::copy(revisions.join("00000001.yaml"), revisions.join("00000002.yaml")).unwrap();
    assert!(matches!(store.latest().unwrap_err(), StoreError::Corrupt { .. }));
}

#[test]
fn remembers_when_a_revision_was_kept() {
    let state = directory();
    let before = std::time::SystemTime::now();
    let mut store = FileStore::open(state.path()).unwrap();
    store.append(OLD).unwrap();
    let kept_at = store.kept_at(Revision(1)).unwrap();
    // File systems keep coarser times than the clock.
    let margin = std::time::Duration::from_secs(2);
    assert!(kept_at >= before - margin && kept_at <= std::time::SystemTime::now() + margin);
    assert!(matches!(store.kept_at(Revision(2)), Err(StoreError::NoSuchRevision { .. })));
}

#[test]
fn ignores_files_that_are_no_revisions() {
    let state = directory();
    let mut store = FileStore::open(state.path()).unwrap();
    store.append(OLD).unwrap();
    for name in ["00000009.yaml.bak", "9.yaml", "notes", "-0000009.yaml"] {
        fs::write(state.path().join("revisions").join(name), "x").unwrap();
    }
    assert_eq!(store.history().unwrap(), [Revision(1)]);
}

#[test]
fn lets_one_process_in_at_a_time() {
    let state = directory();
    let store = FileStore::open(state.path()).unwrap();
    assert!(matches!(FileStore::open(state.path()).unwrap_err(), StoreError::InUse { .. }));
    drop(store);
    FileStore::open(state.path()).unwrap();
}

#[test]
fn keeps_the_newest_thousand() {
    let state = directory();
    let mut store = FileStore::open(state.path()).unwrap();
    store.append(OLD).unwrap();
    // Numbers are taken as they are found; 1,000 fsyncs would only make this slow.
    for number in 2..=1000 {
        fs::write(state.path().join(format!("revisions/{number:08}.yaml")), "").unwrap();
    }
    assert_eq!(store.append(NEW).unwrap(), Revision(1001));
    let kept = store.history().unwrap();
    assert_eq!((kept.len(), kept[0]), (1000, Revision(2)));
}

#[test]
fn makes_the_hash_key_once_and_keeps_it_to_the_owner() {
    let state = directory();
    let inner = state.path().join("new");
    let key = datapath_key(&inner).unwrap();
    assert_eq!(datapath_key(&inner).unwrap(), key);
    assert_ne!(datapath_key(state.path()).unwrap(), key, "two keys made at random");
    let mode = fs::metadata(inner.join("datapath.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    fs::write(inner.join("datapath.key"), "short").unwrap();
    assert_eq!(
        datapath_key(&inner).unwrap_err().to_string(),
        format!(
            "{}/datapath.key is damaged: 5 bytes, a key has 16; remove it, and a new key is made; open flows may then \
             change servers",
            inner.display()
        )
    );
}

#[test]
fn says_what_was_tried_on_which_file() {
    let error = FileStore::open(Path::new("/proc/causeway")).unwrap_err().to_string();
    assert!(error.starts_with("create /proc/causeway/revisions: "), "{error}");
}

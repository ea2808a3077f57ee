use super::*;
use std::fs;
use std::path::PathBuf;

fn corpus(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

// Holds LR-47, LR-50, LR-51
#[test]
fn every_kept_input_keeps_its_targets_promise() {
    for target in TARGETS {
        let folder = corpus(target);
        let mut count = 0;
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            assert!(input.len() <= 1024, "{}: over 1 KiB", path.display());
            let outcome = std::panic::catch_unwind(|| (target.check)(&input));
            assert!(outcome.is_ok(), "{} breaks: {}", path.display(), target.promise);
            count += 1;
        }
        assert!((5..=400).contains(&count), "{count} inputs in {}", folder.display());
    }
}

#[test]
fn every_folder_of_the_corpus_has_a_target() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in fs::read_dir(root).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(target(&name).is_some(), "{name}");
    }
}

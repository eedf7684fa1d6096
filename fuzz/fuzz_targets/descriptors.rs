//! Descriptors as a device sends them: what is read is bounded by what was sent, in order, and a cut blob tells the beginning
//! of the whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use yurt_fuzz::memory;
use yurt_usb::fuzzing;

fuzz_target!(|blob: &[u8]| {
    let read = memory::within(16 * 1024 + 64 * blob.len(), || fuzzing::descriptors(blob));
    assert!(read.len() <= 32);
    let settings: usize = read.iter().map(|(_, settings)| settings.len()).sum();
    let endpoints: usize = read.iter().flat_map(|(_, settings)| settings).map(|setting| setting.endpoints.len()).sum();
    assert!(settings <= 1024);
    assert!(9 * read.len() + 9 * settings + 7 * endpoints <= blob.len(), "more was read than was sent");
    for setting in read.iter().flat_map(|(_, settings)| settings) {
        assert!(setting.endpoints.len() <= 30);
        assert!(setting.endpoints.is_sorted_by_key(|endpoint| endpoint.address));
        assert!(setting.endpoints.iter().all(|endpoint| endpoint.max_packet < 0x800));
        assert!(setting.function.is_none_or(|first| first <= setting.number));
    }

    // Settings stand in the order sent, so what is cut off can only be missing at the end.
    let half = fuzzing::descriptors(&blob[..blob.len() / 2]);
    assert!(half.len() <= read.len());
    for ((value, part), (same, whole)) in half.iter().zip(&read) {
        assert_eq!(value, same);
        assert!(part.iter().zip(whole).all(|(part, whole)| (part.number, part.codes) == (whole.number, whole.codes)));
        assert!(part.len() <= whole.len());
    }
    assert!(fuzzing::fastest(&blob[..blob.len() / 2]) <= fuzzing::fastest(blob));
});

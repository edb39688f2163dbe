//! The shares of a limit: their sum, their bounds, and what is refused.

use proptest::prelude::*;

use super::*;
use crate::runtime::memory::{ThreadBudget, client::CLIENT_RECORD_OVERHEAD};

fn sum(plan: &MemoryPlan) -> u64 {
    plan.parts().iter().map(|(_, bytes)| bytes).sum()
}

#[test]
fn the_weights_make_a_whole() {
    assert_eq!(RESERVE + CACHE + LAYERS + EPOCHS + BYTE_STORE + FETCH + PRODUCE + RESTORE, 100);
}

#[test]
fn half_of_the_machine_is_the_limit_up_to_two_gibibytes() {
    assert_eq!(default_limit(Some(512 * MIB)), 256 * MIB);
    assert_eq!(default_limit(Some(64 << 30)), 2048 * MIB);
    assert_eq!(default_limit(Some(1)), LIMIT_MIN);
    assert_eq!(default_limit(None), 1024 * MIB);
}

#[test]
fn what_is_set_keeps_its_size_and_the_rest_follows() {
    let fixed = MemoryOverrides { cache: Some(100 * MIB), spill: Some(10 * MIB), ..<_>::default() };
    let plan = MemoryPlan::split(1024 * MIB, 2, fixed).unwrap();
    assert_eq!((plan.cache, plan.layers, plan.spill_bytes()), (100 * MIB, 20 * MIB, 10 * MIB));
    assert!(sum(&plan) <= plan.limit);
    let queue = MemoryOverrides { produce_queue: Some(8 * MIB), ..<_>::default() };
    assert_eq!(MemoryPlan::split(1024 * MIB, 1, queue).unwrap().produce, 32 * MIB);
}

#[test]
fn what_does_not_fit_is_refused_with_the_settings_that_make_it_so() {
    let fixed = MemoryOverrides { cache: Some(256 * MIB), spill: Some(64 * MIB), ..<_>::default() };
    let refused = MemoryPlan::split(512 * MIB, 2, fixed).unwrap_err().to_string();
    assert_eq!(
        refused,
        "512 MiB cannot hold what is set: state.cache-bytes makes 512 MiB, state.spill-bytes makes \
         256 MiB; with 76 MiB in reserve 0 KiB remain for the other parts, which need at least \
         38 MiB. Raise memory.limit, or leave these settings out: they then follow it"
    );
    let none = MemoryOverrides::default();
    let refused = MemoryPlan::split(32 * MIB, 1, none).unwrap_err().to_string();
    assert_eq!(refused, "32 MiB is too little: it takes at least 64 MiB");
    let refused = MemoryPlan::split(100 * MIB, 8, none).unwrap_err().to_string();
    assert_eq!(refused, "100 MiB is too little: it takes at least 216 MiB");
}

#[test]
fn a_queue_is_bounded_in_records_too() {
    let plan = MemoryPlan::split(512 * MIB, 1, MemoryOverrides::default()).unwrap();
    let client = plan.client();
    let queues = [(client.produce, 2, plan.produce), (client.fetch, 4, plan.fetch)];
    for (queue, times, part) in queues {
        // A queue full of empty records, and one full of large ones.
        assert!(queue.records * CLIENT_RECORD_OVERHEAD * times <= part);
        assert!((queue.bytes + queue.records * CLIENT_RECORD_OVERHEAD) * times <= part);
    }
}

proptest! {
    #[test]
    fn the_parts_never_take_more_than_the_limit(
        limit in 0u64..1 << 36,
        threads in 1usize..64,
        fixed in proptest::collection::vec(proptest::option::weighted(0.3, 0u64..1 << 32), 5),
    ) {
        let fixed = MemoryOverrides {
            cache: fixed[0],
            spill: fixed[1],
            byte_store: fixed[2],
            fetch_queue: fixed[3],
            produce_queue: fixed[4],
        };
        if let Ok(plan) = MemoryPlan::split(limit, threads, fixed) {
            prop_assert!(sum(&plan) <= limit);
            let budget = ThreadBudget {
                cache: plan.cache,
                spill: plan.spill_bytes(),
                epoch: plan.epoch_bytes(),
            };
            prop_assert!(budget.evict_to() <= budget.evict_above());
            prop_assert!(budget.evict_above() <= budget.step_ends_above());
            prop_assert!(budget.changes_max() + budget.outputs_max()
                <= plan.layers + plan.epochs + plan.epochs / 4 + 64);
        }
    }
}

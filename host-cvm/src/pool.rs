//! Masks minted ahead: one bounded pool for each projection, filled by minting instances, drawn by
//! engines. Each mask is handed out once; what is left at the end is zeroized.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::bindings::talaria::payload::mask_supply::MintedMask;
use crate::link::Shape;

/// Memory of all pools together when full.
const BUDGET_BYTES: usize = 512 << 20;
/// Bytes of a residue.
const RESIDUE_BYTES: usize = 4;

/// Pools of all projections.
pub(crate) struct Pools {
    shapes: Arc<[Shape]>,
    /// Masks of a projection that are kept at most.
    capacity: usize,
    state: Mutex<State>,
    room: Condvar,
}

struct State {
    pools: Vec<Pool>,
    closed: bool,
}

#[derive(Default)]
struct Pool {
    masks: VecDeque<MintedMask>,
    /// Being minted.
    ordered: usize,
}

/// What a minting instance is to make next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub projection: usize,
    pub rows: usize,
}

/// Why minted masks were not taken.
#[derive(Debug, thiserror::Error)]
#[error("minted masks of projection {0} have another shape than its rows")]
pub(crate) struct WrongShape(usize);

impl Pools {
    /// For up to `rows` rows of each projection, fewer if memory would not do.
    pub fn new(shapes: Arc<[Shape]>, rows: usize) -> Self {
        let row_bytes: usize = shapes.iter().map(|s| 2 * (s.k + s.n) * RESIDUE_BYTES).sum();
        let affordable = BUDGET_BYTES / row_bytes.max(1);
        let pools = shapes.iter().map(|_| Pool::default()).collect();
        Self {
            shapes,
            capacity: rows.min(affordable).max(1),
            state: Mutex::new(State {
                pools,
                closed: false,
            }),
            room: Condvar::new(),
        }
    }

    /// Takes up to `rows` masks, oldest first; maybe none.
    pub fn draw(&self, projection: u32, rows: u32) -> Vec<MintedMask> {
        let mut state = self.state();
        let Some(pool) = state.pools.get_mut(projection as usize) else {
            return Vec::new();
        };
        let rows = pool.masks.len().min(rows as usize);
        let drawn: Vec<_> = pool.masks.drain(..rows).collect();
        if !drawn.is_empty() {
            self.room.notify_all();
        }
        drawn
    }

    /// What the emptiest pool lacks; waits while all are full. None once closed.
    pub fn order(&self) -> Option<Order> {
        let mut state = self.state();
        while !state.closed {
            if let Some(order) = self.next_order(&mut state.pools) {
                return Some(order);
            }
            let waited = self.room.wait(state);
            state = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        None
    }

    /// Takes what was minted for an order.
    pub fn deliver(&self, order: Order, masks: Vec<MintedMask>) -> Result<(), WrongShape> {
        let shape = self.shapes[order.projection];
        let fits = |mask: &MintedMask| {
            mask.mask.len() == 2 * shape.k && mask.correction.len() == 2 * shape.n
        };
        let good = masks.iter().all(fits);
        let mut state = self.state();
        let pool = &mut state.pools[order.projection];
        pool.ordered -= order.rows;
        if !good {
            return Err(WrongShape(order.projection));
        }
        let room = self.capacity.saturating_sub(pool.masks.len());
        pool.masks.extend(masks.into_iter().take(room));
        Ok(())
    }

    /// Ends waiting minters.
    pub fn close(&self) {
        self.state().closed = true;
        self.room.notify_all();
    }

    fn next_order(&self, pools: &mut [Pool]) -> Option<Order> {
        let held = |pool: &Pool| pool.masks.len() + pool.ordered;
        let (projection, pool) = pools.iter_mut().enumerate().min_by_key(|(_, p)| held(p))?;
        let batch = self.capacity.div_ceil(4);
        let rows = batch.min(self.capacity - held(pool));
        // Small orders are not worth a call.
        if rows < batch.div_ceil(2) {
            return None;
        }
        pool.ordered += rows;
        Some(Order { projection, rows })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::time::Duration;

    const SHAPES: [Shape; 2] = [Shape { k: 3, n: 2 }, Shape { k: 2, n: 5 }];

    fn pools(rows: usize) -> Pools {
        Pools::new(Arc::new(SHAPES), rows)
    }

    /// Masks whose first element numbers them.
    fn minted(order: Order, from: u32) -> Vec<MintedMask> {
        let shape = SHAPES[order.projection];
        let mask = |i: u32| MintedMask {
            mask: [vec![i], vec![0; 2 * shape.k - 1]].concat(),
            correction: vec![0; 2 * shape.n],
        };
        (from..).take(order.rows).map(mask).collect()
    }

    #[test]
    fn fills_evenly_up_to_the_bound_and_no_further() {
        let pools = pools(8);
        let mut from = 0;
        for _ in 0..8 {
            let order = pools.order().unwrap();
            assert_eq!(order.rows, 2);
            pools.deliver(order, minted(order, from)).unwrap();
            from += 2;
        }
        let lengths: Vec<_> = pools.state().pools.iter().map(|p| p.masks.len()).collect();
        assert_eq!(lengths, [8, 8]);
        assert_eq!(pools.next_order(&mut pools.state().pools), None);
    }

    #[test]
    fn a_full_pool_waits_for_a_draw() {
        let pools = pools(1);
        for from in 0..2 {
            let order = pools.order().unwrap();
            pools.deliver(order, minted(order, from)).unwrap();
        }
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pools.order());
            std::thread::sleep(Duration::from_millis(30));
            assert!(!waiting.is_finished());
            assert_eq!(pools.draw(1, 9).len(), 1);
            let order = waiting.join().unwrap();
            assert_eq!(
                order,
                Some(Order {
                    projection: 1,
                    rows: 1
                })
            );
        });
    }

    #[test]
    fn closing_ends_a_waiting_minter() {
        let pools = pools(1);
        while pools.next_order(&mut pools.state().pools).is_some() {}
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pools.order());
            pools.close();
            assert_eq!(waiting.join().unwrap(), None);
        });
    }

    #[test]
    fn each_mask_is_given_to_one_taker() {
        const TAKERS: usize = 4;
        let pools = pools(16);
        let taken = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for batch in 0.. {
                    let Some(order) = pools.order() else { break };
                    pools.deliver(order, minted(order, batch * 100)).unwrap();
                }
            });
            let takers: Vec<_> = (0..TAKERS)
                .map(|taker| {
                    let (pools, taken) = (&pools, &taken);
                    scope.spawn(move || {
                        for _ in 0..200 {
                            let drawn = pools.draw((taker % 2) as u32, 3);
                            taken
                                .lock()
                                .unwrap()
                                .extend(drawn.iter().map(|m| m.mask[0]));
                            std::thread::yield_now();
                        }
                    })
                })
                .collect();
            takers.into_iter().for_each(|taker| taker.join().unwrap());
            pools.close();
        });
        let taken = taken.into_inner().unwrap();
        assert!(!taken.is_empty());
        let distinct: HashSet<_> = taken.iter().collect();
        assert_eq!(distinct.len(), taken.len());
    }

    #[test]
    fn other_shapes_and_projections_are_refused() {
        let pools = pools(4);
        let order = pools.order().unwrap();
        let mut masks = minted(order, 0);
        masks[0].correction.pop();
        assert!(pools.deliver(order, masks).is_err());
        assert!(pools.draw(0, 4).is_empty());
        assert!(pools.draw(99, 4).is_empty());
    }
}

//! Masks minted ahead: for each projection a bounded pool of batches, filled by minting instances, drawn
//! by engines. Each mask is handed out once and zeroized here; what is left at the end is zeroized too.
//!
//! Back-pressure goes both ways: a draw from an empty pool waits, minting pauses while no pool has room.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use talaria_arithmetic::PRIMES;
use talaria_arithmetic::module_lwe::{LANES, Parameters};
use talaria_wire::shape::{MatrixShape, Planes};
use zeroize::{Zeroize, Zeroizing};

/// Batches of a projection, being minted or drawn: one is drawn while the next is made.
pub(crate) const BATCHES: usize = 2;

/// Elements of a correction: outputs of all planes. A mask has k elements.
pub(crate) const fn corrections(shape: MatrixShape) -> usize {
    shape.outputs(Planes::Apart)
}

/// Masks of as many rows as the ring's degree, token-major: a row lies in one piece.
pub(crate) struct Batch {
    shape: MatrixShape,
    rows: usize,
    /// Rows that were handed out.
    drawn: usize,
    /// rows x (k modulo P1, k modulo P2).
    masks: Vec<u32>,
    /// rows x (outputs modulo P1, outputs modulo P2).
    corrections: Vec<u32>,
}

impl Batch {
    /// Zeros, to be filled.
    pub(crate) fn new(parameters: &Parameters, shape: MatrixShape) -> Self {
        let rows = parameters.degree;
        Self {
            shape,
            rows,
            drawn: 0,
            masks: vec![0; rows * PRIMES.len() * shape.k],
            corrections: vec![0; rows * PRIMES.len() * corrections(shape)],
        }
    }

    /// Takes the masks of a block of features, [prime][row][lane]. False if they are of another shape.
    pub(crate) fn set_masks(&mut self, block: usize, lanes: &[u32]) -> bool {
        scatter(&mut self.masks, self.rows, self.shape.k, block, lanes)
    }

    /// Takes the corrections of a block of outputs likewise.
    pub(crate) fn set_corrections(&mut self, block: usize, lanes: &[u32]) -> bool {
        let columns = corrections(self.shape);
        scatter(&mut self.corrections, self.rows, columns, block, lanes)
    }

    fn left(&self) -> usize {
        self.rows - self.drawn
    }

    /// The next rows; they are gone from here.
    fn draw(&mut self, rows: usize) -> Minted {
        let (first, end) = (self.drawn, self.drawn + rows.min(self.left()));
        self.drawn = end;
        let take = |from: &mut Vec<u32>, columns: usize| {
            let width = PRIMES.len() * columns;
            let rows = &mut from[first * width..end * width];
            let taken = rows.to_vec();
            rows.zeroize();
            taken
        };
        Minted {
            masks: take(&mut self.masks, self.shape.k),
            corrections: take(&mut self.corrections, corrections(self.shape)),
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.masks.zeroize();
        self.corrections.zeroize();
    }
}

/// Puts [prime][row][lane] into rows x (columns modulo P1, columns modulo P2).
fn scatter(to: &mut [u32], rows: usize, columns: usize, block: usize, lanes: &[u32]) -> bool {
    let first = block * LANES;
    if first >= columns || lanes.len() != PRIMES.len() * rows * LANES {
        return false;
    }
    let width = LANES.min(columns - first);
    for (prime, lanes) in lanes.chunks_exact(rows * LANES).enumerate() {
        let at = prime * columns + first;
        let rows = to.chunks_exact_mut(PRIMES.len() * columns);
        for (row, lanes) in rows.zip(lanes.chunks_exact(LANES)) {
            row[at..at + width].copy_from_slice(&lanes[..width]);
        }
    }
    true
}

/// Masks that were handed out: the taker's to zeroize.
pub(crate) struct Minted {
    pub masks: Vec<u32>,
    pub corrections: Vec<u32>,
}

/// Pools of all projections.
pub(crate) struct Pools {
    shapes: Arc<[MatrixShape]>,
    rows: usize,
    state: Mutex<State>,
    /// A batch came, or none will.
    filled: Condvar,
    /// There is room, or it is over.
    room: Condvar,
}

struct State {
    pools: Vec<Pool>,
    /// Why no mask will come any more.
    ended: Option<String>,
}

#[derive(Default)]
struct Pool {
    batches: VecDeque<Batch>,
    /// Batches being minted.
    ordered: usize,
}

impl Pool {
    fn left(&self) -> usize {
        self.batches.iter().map(Batch::left).sum()
    }
}

/// What drawing found.
pub(crate) struct Drawn {
    pub minted: Minted,
    /// Time that the pool was empty.
    pub waited: Duration,
}

impl Pools {
    /// Empty pools of batches of `rows` rows.
    pub(crate) fn new(shapes: Arc<[MatrixShape]>, rows: usize) -> Self {
        let pools = shapes.iter().map(|_| Pool::default()).collect();
        Self {
            shapes,
            rows,
            state: Mutex::new(State { pools, ended: None }),
            filled: Condvar::new(),
            room: Condvar::new(),
        }
    }

    /// The shapes of all projections.
    pub(crate) fn shapes(&self) -> &Arc<[MatrixShape]> {
        &self.shapes
    }

    /// The shape of a projection.
    pub(crate) fn shape(&self, projection: usize) -> MatrixShape {
        self.shapes[projection]
    }

    /// Takes at least one and up to `rows` masks, oldest first; waits for the first up to `patience`.
    pub(crate) fn draw(
        &self,
        projection: u32,
        rows: u32,
        patience: Duration,
    ) -> Result<Drawn, String> {
        let started = Instant::now();
        let mut state = self.state();
        loop {
            if let Some(ended) = &state.ended {
                return Err(ended.clone());
            }
            let pool = state.pools.get_mut(projection as usize);
            let pool = pool.ok_or_else(|| format!("there is no projection {projection}"))?;
            if let Some(batch) = pool.batches.front_mut() {
                let minted = batch.draw((rows as usize).max(1));
                if batch.left() == 0 {
                    pool.batches.pop_front();
                }
                self.room.notify_all();
                let waited = started.elapsed();
                return Ok(Drawn { minted, waited });
            }
            let left = patience.saturating_sub(started.elapsed());
            if left.is_zero() {
                let seconds = patience.as_secs_f32();
                return Err(format!("none was minted within {seconds:.0} s"));
            }
            let waited = self.filled.wait_timeout(state, left);
            state = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    /// The projection that lacks masks most; waits while none does. None once all is over.
    pub(crate) fn order(&self) -> Option<usize> {
        let mut state = self.state();
        while state.ended.is_none() {
            if let Some(projection) = self.next_order(&mut state.pools) {
                return Some(projection);
            }
            let waited = self.room.wait(state);
            state = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        None
    }

    /// Takes what was ordered.
    pub(crate) fn deliver(&self, projection: usize, batch: Batch) {
        let mut state = self.state();
        let pool = &mut state.pools[projection];
        pool.ordered -= 1;
        pool.batches.push_back(batch);
        self.filled.notify_all();
    }

    /// Waits until no batch is lacking or being made. The reason if masks ended.
    pub(crate) fn wait_until_full(&self) -> Result<(), String> {
        let mut state = self.state();
        loop {
            if let Some(ended) = &state.ended {
                return Err(ended.clone());
            }
            let lacks = |pool: &Pool| pool.ordered > 0 || self.lacks(pool);
            if !state.pools.iter().any(lacks) {
                return Ok(());
            }
            let waited = self.filled.wait(state);
            state = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// Masks that are ready for the projection that has the fewest.
    pub(crate) fn fewest(&self) -> usize {
        let state = self.state();
        state.pools.iter().map(Pool::left).min().unwrap_or_default()
    }

    /// Whether nothing is to be minted any more.
    pub(crate) fn is_over(&self) -> bool {
        self.state().ended.is_some()
    }

    /// Ends all waiting: no mask will come any more.
    pub(crate) fn end(&self, reason: &str) {
        let mut state = self.state();
        state.ended.get_or_insert_with(|| reason.to_owned());
        state.pools.iter_mut().for_each(|pool| pool.batches.clear());
        self.filled.notify_all();
        self.room.notify_all();
    }

    /// Half a batch is left, and no more than that is being made.
    fn lacks(&self, pool: &Pool) -> bool {
        pool.batches.len() + pool.ordered < BATCHES
            && pool.left() + pool.ordered * self.rows <= self.rows / 2
    }

    fn next_order(&self, pools: &mut [Pool]) -> Option<usize> {
        let lacking = pools.iter_mut().enumerate().filter(|(_, p)| self.lacks(p));
        let (projection, pool) = lacking.min_by_key(|(_, pool)| pool.left())?;
        pool.ordered += 1;
        Some(projection)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Lanes as they come from an instance, zeroized once they are in place.
pub(crate) type Lanes = Zeroizing<Vec<u32>>;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use talaria_wire::manifest::WeightFormat;

    const fn shape(k: usize, n: usize) -> MatrixShape {
        let format = WeightFormat::Int8;
        MatrixShape { k, n, format }
    }

    const SHAPES: [MatrixShape; 2] = [shape(3, 2), shape(20, 17)];
    const PATIENCE: Duration = Duration::from_secs(20);

    fn parameters() -> &'static Parameters {
        Parameters::find("256x10").unwrap()
    }

    fn pools() -> Pools {
        Pools::new(Arc::new(SHAPES), parameters().degree)
    }

    /// A batch whose elements are numbered by row, from `from`.
    fn batch(projection: usize, from: u32) -> Batch {
        let rows = parameters().degree;
        let mut batch = Batch::new(parameters(), SHAPES[projection]);
        let lanes: Vec<u32> = (0..PRIMES.len())
            .flat_map(|_| (from..).take(rows).flat_map(|row| [row; LANES]))
            .collect();
        for block in 0..SHAPES[projection].k.div_ceil(LANES) {
            assert!(batch.set_masks(block, &lanes));
        }
        for block in 0..corrections(SHAPES[projection]).div_ceil(LANES) {
            assert!(batch.set_corrections(block, &lanes));
        }
        batch
    }

    #[test]
    fn rows_lie_in_one_piece() {
        let mut batch = Batch::new(parameters(), SHAPES[1]);
        let rows = parameters().degree;
        for block in 0..2 {
            // prime, row and column of each element
            let lanes: Vec<u32> = (0..2 * rows * LANES)
                .map(|i| {
                    let (prime, row) = (i / (rows * LANES), i / LANES % rows);
                    (prime * 1_000_000 + row * 100 + block * LANES + i % LANES) as u32
                })
                .collect();
            assert!(batch.set_masks(block, &lanes));
            assert!(!batch.set_masks(block, &lanes[1..]));
            assert!(!batch.set_masks(2, &lanes));
        }
        let first = batch.draw(1).masks;
        let second = batch.draw(1).masks;
        let row = |row: u32| {
            let half = move |prime: u32| (0..20).map(move |j| prime * 1_000_000 + row * 100 + j);
            half(0).chain(half(1)).collect::<Vec<u32>>()
        };
        assert_eq!(first, row(0));
        assert_eq!(second, row(1));
        // What was drawn is no longer there.
        assert!(batch.masks[..80].iter().all(|m| *m == 0));
    }

    #[test]
    fn a_full_pool_waits_for_half_of_a_batch_to_be_drawn() {
        let pools = pools();
        for expected in [0, 1] {
            assert_eq!(pools.order(), Some(expected));
        }
        assert_eq!(pools.next_order(&mut pools.state().pools), None);
        pools.deliver(1, batch(1, 0));
        pools.deliver(0, batch(0, 0));
        pools.wait_until_full().unwrap();
        let degree = parameters().degree;
        assert_eq!(pools.fewest(), degree);
        let half = degree as u32 / 2;
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pools.order());
            pools.draw(1, half - 1, PATIENCE).unwrap();
            std::thread::sleep(Duration::from_millis(30));
            assert!(!waiting.is_finished());
            assert_eq!(pools.fewest(), degree - (half as usize - 1));
            pools.draw(1, 1, PATIENCE).unwrap();
            assert_eq!(waiting.join().unwrap(), Some(1));
        });
        assert_eq!(pools.next_order(&mut pools.state().pools), None);
    }

    #[test]
    fn an_empty_pool_waits_for_a_batch_and_counts_it() {
        let pools = pools();
        std::thread::scope(|scope| {
            let drawing = scope.spawn(|| pools.draw(0, 5, PATIENCE));
            let projection = pools.order().unwrap();
            std::thread::sleep(Duration::from_millis(30));
            assert!(!drawing.is_finished());
            pools.deliver(projection, batch(projection, 7));
            let drawn = drawing.join().unwrap().unwrap();
            assert_eq!(drawn.minted.masks.len(), 5 * 2 * SHAPES[0].k);
            assert_eq!(
                drawn.minted.corrections.len(),
                5 * 2 * corrections(SHAPES[0])
            );
            assert!(drawn.waited >= Duration::from_millis(20));
        });
        let late = pools.draw(1, 1, Duration::from_millis(10)).err().unwrap();
        assert!(late.contains("minted within"), "{late}");
        assert!(pools.draw(9, 1, PATIENCE).is_err());
    }

    #[test]
    fn the_end_reaches_all_who_wait() {
        let pools = pools();
        while pools.next_order(&mut pools.state().pools).is_some() {}
        std::thread::scope(|scope| {
            let minter = scope.spawn(|| pools.order());
            let engine = scope.spawn(|| pools.draw(0, 1, PATIENCE).err());
            let bench = scope.spawn(|| pools.wait_until_full());
            pools.end("enough");
            assert_eq!(minter.join().unwrap(), None);
            assert_eq!(engine.join().unwrap(), Some("enough".into()));
            assert_eq!(bench.join().unwrap(), Err("enough".into()));
        });
        assert!(pools.is_over());
    }

    #[test]
    fn each_mask_is_given_to_one_taker() {
        const TAKERS: usize = 4;
        let pools = pools();
        let taken = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0.. {
                    let Some(projection) = pools.order() else {
                        break;
                    };
                    pools.deliver(projection, batch(projection, number * 1000));
                }
            });
            let takers: Vec<_> = (0..TAKERS)
                .map(|taker| {
                    let (pools, taken) = (&pools, &taken);
                    scope.spawn(move || {
                        let projection = taker % 2;
                        for _ in 0..300 {
                            let drawn = pools.draw(projection as u32, 3, PATIENCE).unwrap();
                            let width = 2 * SHAPES[projection].k;
                            let first = drawn.minted.masks.chunks(width).map(|row| row[0]);
                            taken.lock().unwrap().extend(first);
                        }
                    })
                })
                .collect();
            takers.into_iter().for_each(|taker| taker.join().unwrap());
            pools.end("done");
        });
        let taken = taken.into_inner().unwrap();
        assert!(taken.len() >= TAKERS * 300);
        let distinct: HashSet<_> = taken.iter().collect();
        assert_eq!(distinct.len(), taken.len());
    }
}

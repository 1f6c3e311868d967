//! `numpy.random.default_rng(seed).permutation(n)`, bit for bit: the order `datasets.Dataset.shuffle(seed)`
//! gives, so that a shuffled calibration set holds the same rows as a Python run's.

const POOL_WORDS: usize = 4;

/// numpy's `SeedSequence(seed).generate_state(4, uint64)`.
fn seed_state(seed: u64) -> [u64; 4] {
    const MULT_A: u32 = 0x931e_8875;
    const MULT_B: u32 = 0x58f3_8ded;
    const MIX_L: u32 = 0xca01_f9dd;
    const MIX_R: u32 = 0x4973_f715;

    let mut hash = 0x43b0_d7e5_u32;
    let mut hashmix = |word: u32| {
        let mixed = word ^ hash;
        hash = hash.wrapping_mul(MULT_A);
        let mixed = mixed.wrapping_mul(hash);
        mixed ^ (mixed >> 16)
    };
    let mix = |x: u32, y: u32| {
        let mixed = MIX_L.wrapping_mul(x).wrapping_sub(MIX_R.wrapping_mul(y));
        mixed ^ (mixed >> 16)
    };

    // A 64-bit seed is one or two words of entropy; the pool's other words are hashed zeros.
    let entropy = [seed as u32, (seed >> 32) as u32, 0, 0];
    let mut pool = entropy.map(&mut hashmix);
    for source in 0..POOL_WORDS {
        for target in 0..POOL_WORDS {
            if source != target {
                pool[target] = mix(pool[target], hashmix(pool[source]));
            }
        }
    }

    let mut hash = 0x8b51_f9dd_u32;
    let mut next_word = |index: usize| {
        let word = pool[index % POOL_WORDS] ^ hash;
        hash = hash.wrapping_mul(MULT_B);
        let word = word.wrapping_mul(hash);
        u64::from(word ^ (word >> 16))
    };
    std::array::from_fn(|index| next_word(2 * index) | next_word(2 * index + 1) << 32)
}

/// PCG64: a 128-bit linear congruential generator with XSL-RR output.
struct Pcg64 {
    state: u128,
    increment: u128,
    /// The upper half of the last draw, when only its lower half has been used.
    spare: Option<u32>,
}

impl Pcg64 {
    fn from_seed(seed: u64) -> Self {
        let words = seed_state(seed);
        let wide = |high: u64, low: u64| u128::from(high) << 64 | u128::from(low);
        let mut generator = Pcg64 { state: 0, increment: wide(words[2], words[3]) << 1 | 1, spare: None };
        generator.step();
        generator.state = generator.state.wrapping_add(wide(words[0], words[1]));
        generator.step();
        generator
    }

    fn step(&mut self) {
        const MULTIPLIER: u128 = 2549297995355413924 << 64 | 4865540595714422341;
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(self.increment);
    }

    fn next_u64(&mut self) -> u64 {
        self.step();
        let (high, low) = ((self.state >> 64) as u64, self.state as u64);
        (high ^ low).rotate_right((high >> 58) as u32)
    }

    fn next_u32(&mut self) -> u32 {
        if let Some(word) = self.spare.take() {
            return word;
        }
        let wide = self.next_u64();
        self.spare = Some((wide >> 32) as u32);
        wide as u32
    }

    /// A number in 0..=`last`: as many random bits as `last` has, drawn again until they fit.
    fn next_bounded(&mut self, last: u64) -> u64 {
        if last == 0 {
            return 0;
        }
        let mask = u64::MAX >> last.leading_zeros();
        loop {
            // 32-bit draws whenever the range allows it: they use up the generator at half the pace.
            let word = if last <= u64::from(u32::MAX) { u64::from(self.next_u32()) } else { self.next_u64() };
            if word & mask <= last {
                return word & mask;
            }
        }
    }
}

/// 0..n in the order numpy's default generator shuffles it into.
pub fn permutation(seed: u64, n: usize) -> Vec<usize> {
    let mut generator = Pcg64::from_seed(seed);
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        let other = generator.next_bounded(last as u64) as usize;
        order.swap(last, other);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_rows_come_in_numpys_order() {
        assert_eq!(permutation(0, 10), [4, 6, 2, 7, 3, 5, 9, 0, 8, 1]);
        assert_eq!(permutation(42, 10), [5, 6, 0, 7, 3, 2, 4, 9, 1, 8]);
    }

    #[test]
    fn no_row_and_one_row_are_left_alone() {
        assert!(permutation(7, 0).is_empty());
        assert_eq!(permutation(7, 1), [0]);
    }
}

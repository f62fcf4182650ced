//! From saliencies to whole numbers and back, by a power of two.

/// What a saliency is multiplied by to become a profit; the profits add up to less than 2⁵².
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    exponent: i32,
    power: Power,
}

impl Scale {
    /// The scale of finite saliencies that are not negative.
    pub fn of(saliencies: impl Iterator<Item = f64> + Clone) -> Self {
        let top = exponent(saliencies.clone().fold(0.0, f64::max));
        let unit = Power::of_two(-top);
        let total: f64 = saliencies.map(|saliency| unit.times(saliency)).sum();
        let exponent = 51 - exponent(total) - top;
        Self {
            exponent,
            power: Power::of_two(exponent),
        }
    }

    /// The saliency as a whole number, 0 only where it is 0.
    pub fn profit(self, saliency: f64) -> i64 {
        match saliency {
            0.0 => 0,
            // Below 2⁵² adding a half and cutting off rounds, and spares a call of libm.
            saliency => ((self.power.times(saliency) + 0.5) as i64).max(1),
        }
    }

    /// The saliency that such a profit, whole or not, stands for.
    pub fn saliency(self, profit: f64) -> f64 {
        Power::of_two(-self.exponent).times(profit)
    }
}

/// `e` with `2ᵉ⁻¹ <= x < 2ᵉ` for positive normal `x`; -1022 for smaller ones.
fn exponent(x: f64) -> i32 {
    ((x.to_bits() >> 52) & 0x7ff) as i32 - 1022
}

/// A power of two in three factors: its exponent reaches beyond those that a float has.
#[derive(Clone, Copy, Debug)]
struct Power {
    twice: f64,
    once: f64,
}

impl Power {
    fn of_two(exponent: i32) -> Self {
        let third = exponent / 3;
        Self {
            twice: 2_f64.powi(third),
            once: 2_f64.powi(exponent - 2 * third),
        }
    }

    /// Powers of two scale without rounding.
    fn times(self, x: f64) -> f64 {
        x * self.twice * self.twice * self.once
    }
}

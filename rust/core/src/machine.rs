//! Which instructions the kernels are compiled for, chosen at run time.

use pulp::{Arch, NullaryFnOnce};

#[cfg(target_arch = "x86_64")]
use crate::vectors::{Avx512, Pairs};
use crate::vectors::{Plain, Vectors};

/// A kernel, compiled once per instruction set.
pub(crate) trait Kernel {
    type Output;

    /// Must be inlined, as must whatever it calls in its loops: that is what compiles it for `V`.
    fn run<V: Vectors>(self, v: V) -> Self::Output;
}

/// An instruction set that this processor has.
#[derive(Clone, Copy, Debug)]
pub struct Machine(Set);

#[derive(Clone, Copy, Debug)]
enum Set {
    Plain,
    #[cfg(target_arch = "x86_64")]
    V3(pulp::x86::V3),
    #[cfg(target_arch = "x86_64")]
    V4(pulp::x86::V4),
    #[cfg(target_arch = "x86_64")]
    Vnni(pulp::x86::V4, secateur_vnni::Vnni),
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
}

impl Machine {
    /// The best there is.
    #[inline]
    pub fn best() -> Self {
        Self(match Arch::new() {
            #[cfg(target_arch = "x86_64")]
            Arch::V4(v4) => match secateur_vnni::Vnni::try_new() {
                Some(vnni) => Set::Vnni(v4, vnni),
                None => Set::V4(v4),
            },
            #[cfg(target_arch = "x86_64")]
            Arch::V3(v3) => Set::V3(v3),
            #[cfg(target_arch = "aarch64")]
            Arch::Neon(neon) => Set::Neon(neon),
            _ => Set::Plain,
        })
    }

    /// All that this processor has, for tests and benches.
    pub fn all() -> Vec<Self> {
        let mut sets = vec![Set::Plain];
        #[cfg(target_arch = "x86_64")]
        {
            sets.extend(pulp::x86::V3::try_new().map(Set::V3));
            if let Some(v4) = pulp::x86::V4::try_new() {
                sets.push(Set::V4(v4));
                sets.extend(secateur_vnni::Vnni::try_new().map(|vnni| Set::Vnni(v4, vnni)));
            }
        }
        #[cfg(target_arch = "aarch64")]
        sets.extend(pulp::aarch64::Neon::try_new().map(Set::Neon));
        sets.into_iter().map(Self).collect()
    }

    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Set::Plain => kernel.run(Plain),
            #[cfg(target_arch = "x86_64")]
            Set::V3(v) => v.vectorize(Compiled { kernel, v }),
            #[cfg(target_arch = "x86_64")]
            Set::V4(v4) => {
                let v = Avx512 { v4, dots: Pairs };
                v4.vectorize(Compiled { kernel, v })
            }
            #[cfg(target_arch = "x86_64")]
            Set::Vnni(v4, dots) => {
                let v = Avx512 { v4, dots };
                dots.vectorize(Compiled { kernel, v })
            }
            #[cfg(target_arch = "aarch64")]
            Set::Neon(v) => v.vectorize(Compiled { kernel, v }),
        }
    }
}

struct Compiled<K, V> {
    kernel: K,
    v: V,
}

impl<K: Kernel, V: Vectors> NullaryFnOnce for Compiled<K, V> {
    type Output = K::Output;

    #[inline(always)]
    fn call(self) -> Self::Output {
        self.kernel.run(self.v)
    }
}

//! Exact ranges of arbitrary integer tables: the least and the greatest of the entries in reach.

use ndarray::ArrayView2;

use crate::code::Code;
use crate::{Error, Ranges, Result};

/// Range of the entries that each index range reaches; monotonicity is never assumed.
///
/// `tables` is `[channels, entries]`, or `[1, entries]` where all share one. The entry at 0
/// stands for the index `start`, one for all channels or one per channel.
pub fn table_ranges<T: Code>(
    tables: ArrayView2<'_, T>,
    indices: &Ranges,
    start: &[i64],
) -> Result<Ranges> {
    let channels = indices.low.len();
    let (rows, entries) = tables.dim();
    if rows != 1 && rows != channels {
        return Err(Error::Shape {
            argument: "tables",
            shape: vec![rows, entries],
            expected: format!("low and high have {channels} channels"),
        });
    }
    if indices.high.len() != channels {
        return Err(Error::Shape {
            argument: "high",
            shape: vec![indices.high.len()],
            expected: format!("low has shape [{channels}]"),
        });
    }
    if start.len() != 1 && start.len() != channels {
        return Err(Error::Shape {
            argument: "start",
            shape: vec![start.len()],
            expected: format!("low and high have {channels} channels"),
        });
    }
    let mut ranges = Ranges::zeros(channels)?;
    for channel in 0..channels {
        let (low, high) = (indices.low[channel], indices.high[channel]);
        if low > high {
            return Err(Error::EmptyRange {
                index: channel,
                low,
                high,
            });
        }
        let first = i128::from(start[if start.len() == 1 { 0 } else { channel }]);
        let last = first + entries as i128 - 1;
        if i128::from(low) < first || i128::from(high) > last {
            return Err(Error::Table {
                channel,
                low,
                high,
                first,
                last,
            });
        }
        // Both lie within the table, so both fit its indices.
        let from = (i128::from(low) - first) as usize;
        let to = (i128::from(high) - first) as usize;
        let table = tables.row(if rows == 1 { 0 } else { channel });
        let (mut least, mut most) = (i64::MAX, i64::MIN);
        match table.as_slice() {
            Some(table) => {
                for entry in &table[from..=to] {
                    least = least.min(entry.value());
                    most = most.max(entry.value());
                }
            }
            None => {
                for entry in table.iter().skip(from).take(to - from + 1) {
                    least = least.min(entry.value());
                    most = most.max(entry.value());
                }
            }
        }
        (ranges.low[channel], ranges.high[channel]) = (least, most);
    }
    Ok(ranges)
}

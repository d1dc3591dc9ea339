//! Figures and ratios as text: as many digits as they are worth, thousands apart.

/// A figure or a ratio with two or three digits, or as many as it has before the point: 0.00011, 0.034, 0.12, 7.69,
/// 64.5, 27,421.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 99.95 => grouped(value),
        v if v >= 9.995 => format!("{value:.1}"),
        v if (1e-9..0.0995).contains(&v) => {
            // Two digits after the zeros.
            let zeros = -v.log10().floor();
            format!("{value:.*}", zeros as usize + 1)
        }
        _ => format!("{value:.2}"),
    }
}

/// The least and the greatest of some figures.
#[must_use]
pub fn spread(least: f64, greatest: f64) -> String {
    format!("{} to {}", number(least), number(greatest))
}

/// Without decimals, a comma before each three digits.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_digits_they_are_worth() {
        let cases = [
            (0.0, "0.00"),
            (0.000_112_4, "0.00011"),
            (0.0342, "0.034"),
            (0.099_4, "0.099"),
            (0.1249, "0.12"),
            (7.694, "7.69"),
            (9.996, "10.0"),
            (64.49, "64.5"),
            (99.96, "100"),
            (418.6, "419"),
            (27_421.3, "27,421"),
            (1_048_576.0, "1,048,576"),
            (-1234.0, "-1,234"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}

//! Tables for terminals: aligned columns, cut to a width.

/// Spaces between columns.
const GAP: &str = "  ";
/// A column that is cut keeps this much.
const CUT_MIN: usize = 6;
/// The first column keeps this much while another can give way: it has the names that users write elsewhere.
const NAME_MIN: usize = 40;

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a heading.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// One cell for each column.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(N, self.columns.len(), "a cell for each column");
        self.rows.push(cells.to_vec());
    }

    /// The table in lines of at most `width` characters, if that can be had by cutting the widest left-aligned
    /// columns, the first one last; a cut cell ends in `…`. Numbers are never cut.
    pub(super) fn render(&self, width: Option<usize>) -> String {
        let mut widths: Vec<usize> =
            self.columns.iter().map(|(heading, _)| heading.chars().count()).collect();
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(cell.chars().count());
            }
        }
        if let Some(limit) = width {
            self.shrink(&mut widths, limit);
        }
        let headings: Vec<String> = self.columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
        std::iter::once(&headings).chain(&self.rows).map(|row| self.line(row, &widths)).collect()
    }

    fn shrink(&self, widths: &mut [usize], limit: usize) {
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > limit {
            let widest = |name_min: usize| {
                (0..widths.len())
                    .filter(|index| self.columns[*index].1 == Align::Left)
                    .filter(|index| widths[*index] > if *index == 0 { name_min } else { CUT_MIN })
                    .max_by_key(|index| widths[*index])
            };
            let Some(index) = widest(NAME_MIN).or_else(|| widest(CUT_MIN)) else { return };
            widths[index] -= 1;
        }
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .zip(&self.columns)
            .map(|((cell, width), (_, align))| {
                let cell = cut(cell, *width);
                match align {
                    Align::Left => format!("{cell:<width$}"),
                    Align::Right => format!("{cell:>width$}"),
                }
            })
            .collect();
        cells.join(GAP).trim_end().to_owned() + "\n"
    }
}

fn cut(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell.to_owned();
    }
    cell.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[("NAME", Align::Left), ("COUNT", Align::Right), ("NOTE", Align::Left)]);
        table.row(["a".into(), "7".into(), "a long note of no great interest".into()]);
        table.row(["longer-name".into(), "123456".into(), String::new()]);
        table
    }

    #[test]
    fn aligns_text_left_and_numbers_right() {
        assert_eq!(
            table().render(None),
            "NAME          COUNT  NOTE\n\
             a                 7  a long note of no great interest\n\
             longer-name  123456\n"
        );
    }

    #[test]
    fn cuts_the_widest_text_to_fit() {
        assert_eq!(
            table().render(Some(40)),
            "NAME          COUNT  NOTE\n\
             a                 7  a long note of no …\n\
             longer-name  123456\n"
        );
    }

    #[test]
    fn keeps_names_before_what_is_told_of_them() {
        let mut table = Table::new(&[("NAME", Align::Left), ("NOTE", Align::Left)]);
        table.row(["a-name-longer-than-its-note".into(), "a note of twenty-two..".into()]);
        assert_eq!(
            table.render(Some(40)),
            "NAME                         NOTE\n\
             a-name-longer-than-its-note  a note of …\n"
        );
    }

    #[test]
    fn never_cuts_numbers() {
        assert_eq!(
            table().render(Some(1)),
            "NAME     COUNT  NOTE\n\
             a            7  a lon…\n\
             longe…  123456\n"
        );
    }
}

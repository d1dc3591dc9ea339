//! Ways from a root down to a leaf.

use super::root::TreeRoot;
use super::search::{child_index, malformed};
use crate::pages::node::Node;
use crate::pages::{Damage, Outcome, PageNumber, Pages, Reference, header, validate_tree_page};

/// The most levels that a tree can have.
pub(crate) const DEPTH_LIMIT: usize = header::LEVEL_LIMIT as usize + 1;

/// The page that `reference` names, which must be of this tree and level.
#[inline]
pub(crate) fn open<'a>(
    pages: &Pages<'a>,
    reference: &Reference,
    tree: u8,
    level: u8,
) -> Outcome<Node<'a>> {
    let page = pages.page(reference)?;
    let fits = header::number(page) == reference.page
        && header::kind(page) == level
        && header::tree(page) == tree;
    let node = if fits { Node::new(page) } else { None };
    match node {
        Some(node) if node.count() > 0 => Ok(node),
        _ => Err(Damage::malformed(reference.page, "not the page that is referred to").into()),
    }
}

/// The reference in cell `index` of an inner page.
#[inline]
pub(crate) fn child(node: &Node<'_>, index: usize) -> Outcome<Reference> {
    match node.inner_cell(index) {
        Some(cell) => Ok(cell.child),
        None => Err(malformed(node, "a cell contradicts itself").into()),
    }
}

/// The leaf where `key` belongs.
#[inline]
pub(crate) fn leaf<'a>(
    pages: &Pages<'a>,
    root: &TreeRoot,
    tree: u8,
    key: &[u8],
) -> Outcome<Option<Node<'a>>> {
    if root.is_empty() {
        return Ok(None);
    }
    let mut node = open(pages, &root.reference, tree, root.level)?;
    for level in (0..root.level).rev() {
        let index = child_index(&node, key, pages)?;
        node = open(pages, &child(&node, index)?, tree, level)?;
    }
    Ok(Some(node))
}

/// One page on a way down.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Step {
    pub(crate) page: PageNumber,
    /// The cell through which the way goes on (in the leaf: nothing).
    pub(crate) index: usize,
}

/// A way from the root to a leaf, for changes; element 0 is the leaf.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Way {
    pub(crate) steps: [Step; DEPTH_LIMIT],
    /// The level of the root.
    pub(crate) top: usize,
    /// Whether it goes through the last cell everywhere.
    pub(crate) is_rightmost: bool,
}

/// Finds the way to `key` and the leaf. What has no image is validated, as it is going to be copied and
/// changed, which must not fail half-way.
pub(crate) fn way<'a>(
    pages: &Pages<'a>,
    root: &TreeRoot,
    tree: u8,
    key: &[u8],
) -> Outcome<(Way, Node<'a>)> {
    let mut way = Way {
        top: usize::from(root.level),
        is_rightmost: true,
        ..Way::default()
    };
    let mut node = open_valid(pages, &root.reference, tree, root.level)?;
    for level in (0..root.level).rev() {
        let index = child_index(&node, key, pages)?;
        way.is_rightmost &= index + 1 == node.count();
        way.steps[usize::from(level) + 1] = Step {
            page: header::number(node.page()),
            index,
        };
        node = open_valid(pages, &child(&node, index)?, tree, level)?;
    }
    way.steps[0].page = header::number(node.page());
    Ok((way, node))
}

/// As [`open`]; what has no image is validated.
pub(crate) fn open_valid<'a>(
    pages: &Pages<'a>,
    reference: &Reference,
    tree: u8,
    level: u8,
) -> Outcome<Node<'a>> {
    let node = open(pages, reference, tree, level)?;
    if !pages.has_image(reference.page) {
        validate_tree_page(node.page()).map_err(|what| malformed(&node, what))?;
    }
    Ok(node)
}

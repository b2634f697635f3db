//! Files of shapes.

use std::path::Path;

use betanet_carrier::disk;
use betanet_traffic::shape::Shape;

use crate::Fail;

/// Reads a shape's file.
pub(crate) fn read(path: &Path) -> Result<Shape, Fail> {
    let bytes = disk::read_bounded(path, disk::CAPTURE_MAX).map_err(Fail::file(path))?;
    Shape::from_bytes(&bytes).map_err(|e| Fail::Local(format!("{}: no shape: {e}", path.display())))
}

// Package laws holds no code of the product: its tests are the laws of the house. They fail the build when a package
// lacks its comment, a component imports another, a file is not formatted, or code that must take its clock, disk and
// network from outside calls package os or time by itself.
package laws

"""What tests of identity share: a server that answers byte by byte, a realm's keys, histories of Domino's answers."""

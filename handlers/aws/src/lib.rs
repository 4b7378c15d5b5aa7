//! The messaging application on AWS: DynamoDB and `@connections` behind the ports of [`handlers`].

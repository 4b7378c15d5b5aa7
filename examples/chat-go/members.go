package main

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// member is a connection and the room that it has joined; empty before.
type member struct {
	ConnectionID string `dynamodbav:"connectionId"`
	Name         string `dynamodbav:"name"`
	Room         string `dynamodbav:"room,omitempty"`
}

// memberTable is the table of all connections, with an index by room.
type memberTable struct {
	client *dynamodb.Client
	name   string
}

func (t memberTable) save(ctx context.Context, saved member) error {
	item, err := attributevalue.MarshalMap(saved)
	if err != nil {
		return err
	}
	_, err = t.client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &t.name, Item: item})
	return err
}

func (t memberTable) remove(ctx context.Context, connectionID string) error {
	_, err := t.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: &t.name, Key: key(connectionID)})
	return err
}

func (t memberTable) find(ctx context.Context, connectionID string) (member, error) {
	var found member
	output, err := t.client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &t.name, Key: key(connectionID)})
	if err != nil {
		return found, err
	}
	if output.Item == nil {
		return found, fmt.Errorf("connection %s is not stored", connectionID)
	}
	return found, attributevalue.UnmarshalMap(output.Item, &found)
}

func (t memberTable) list(ctx context.Context, room string) ([]member, error) {
	query := dynamodb.QueryInput{
		TableName:                 &t.name,
		IndexName:                 aws.String("rooms"),
		KeyConditionExpression:    aws.String("room = :room"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":room": &types.AttributeValueMemberS{Value: room}},
	}
	output, err := t.client.Query(ctx, &query)
	if err != nil {
		return nil, err
	}
	var found []member
	return found, attributevalue.UnmarshalListOfMaps(output.Items, &found)
}

func key(connectionID string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{"connectionId": &types.AttributeValueMemberS{Value: connectionID}}
}
